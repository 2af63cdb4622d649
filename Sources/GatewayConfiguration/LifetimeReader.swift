import IPsecTypes
import Policy

/// The keys that say how long an SA lives, as one mapping has them; a tunnel's go before its connection's.
struct LifetimeReader {
    static let ikeKeys = ["ike-rekey-time", "ike-life-time", "ike-rand-time"]
    static let childKeys = [
        "rekey-time", "life-time", "rand-time", "rekey-bytes", "life-bytes", "rekey-packets", "life-packets",
    ]
    /// So short that only a test means it; a rekey takes a round trip and half a second of patience.
    private static let shortest = Duration.seconds(3)
    private static let longest = Duration.seconds(30 * 86_400)
    /// Below this an SA is renewed more often than is good for anybody.
    private static let short = Duration.seconds(300)
    /// What a replacement may take at least: all retransmissions of its request.
    private static let margin = Duration.seconds(60)

    let readers: [MappingReader]
    let prefix: String

    /// - Parameters:
    ///   - readers: the mappings that may have the keys, the nearest first.
    ///   - prefix: `ike-` for those of the IKE_SA, nothing for those of CHILD_SAs.
    init(_ readers: [MappingReader], prefix: String = "") {
        self.readers = readers
        self.prefix = prefix
    }

    /// The reader of the nearest mapping that has `key`.
    private func reader(_ key: String) -> MappingReader? {
        readers.first { $0.entry(prefix + key) != nil }
    }

    // MARK: - Time

    /// The lifetime, or `standard` when no key says one.
    ///
    /// As in strongSwan, the hard lifetime is a tenth longer than the rekey time where only that is given.
    func lifetime(_ standard: SALifetime) -> SALifetime {
        let hasRekey = reader("rekey-time") != nil
        let hasLife = reader("life-time") != nil
        let (rekey, life) = (time("rekey-time"), time("life-time"))
        let jitter = reader("rand-time")?.value(prefix + "rand-time") { (text) throws(Refusal) in
            try ScalarText.duration(text, in: .zero...Self.longest)
        }
        var result = standard
        if hasRekey {
            result.rekey = rekey
            result.jitter = rekey.map { $0 / 10 } ?? .zero
            result.hard = hasLife ? life : rekey.map { $0 + max($0 / 10, Self.margin) }
        } else if hasLife {
            result = life.map { SALifetime(total: $0) } ?? standard
            result.hard = life
        }
        if let jitter { result.jitter = jitter }
        check(result)
        return result
    }

    private func time(_ key: String) -> Duration? {
        let parse = { (text: String) throws(Refusal) -> Duration? in
            text == "off" ? nil : try ScalarText.duration(text, in: Self.shortest...Self.longest)
        }
        guard let reader = reader(key), let value = reader.value(prefix + key, parse), let value else {
            return nil
        }
        if value < Self.short, let entry = reader.entry(prefix + key) {
            reader.sink.warning(
                entry.value.position,
                reader.path(of: prefix + key),
                "is less than \(Self.short.components.seconds) s: SAs are renewed all the time"
            )
        }
        return value
    }

    private func check(_ lifetime: SALifetime) {
        guard let rekey = lifetime.rekey else { return }
        if let hard = lifetime.hard, hard <= rekey, let reader = reader("life-time") {
            reader.error(
                prefix + "life-time",
                "must be longer than \(prefix)rekey-time, or there is no time to renew the SA"
            )
        }
        if lifetime.jitter >= rekey, let reader = reader("rand-time") {
            reader.error(
                prefix + "rand-time",
                "must be shorter than \(prefix)rekey-time, which is made shorter by up to this much"
            )
        }
    }

    // MARK: - Volume

    /// The volume at which the replacement begins and the one at which the SA ends; what no key says is `standard`.
    func volumes(_ standard: (soft: SAVolume, hard: SAVolume)) -> (soft: SAVolume, hard: SAVolume) {
        let octets = pair("bytes", standard.soft.octets, standard.hard.octets) { (text) throws(Refusal) in
            try ScalarText.size(text, in: 65_536...(1 << 50))
        }
        let packets = pair("packets", standard.soft.packets, standard.hard.packets) {
            (text) throws(Refusal) in
            UInt64(try ScalarText.integer(text, in: 1000...(1 << 50)))
        }
        return (
            SAVolume(octets: octets.soft, packets: packets.soft),
            SAVolume(octets: octets.hard, packets: packets.hard)
        )
    }

    private func pair(
        _ unit: String,
        _ soft: UInt64?,
        _ hard: UInt64?,
        _ parse: (String) throws(Refusal) -> UInt64
    ) -> (soft: UInt64?, hard: UInt64?) {
        let (rekeyKey, lifeKey) = ("rekey-\(unit)", "life-\(unit)")
        let rekey = reader(rekeyKey)?.value(rekeyKey, parse)
        let life = reader(lifeKey)?.value(lifeKey, parse)
        if let rekey, let life, life <= rekey {
            reader(lifeKey)?.error(
                lifeKey,
                "must be more than \(rekeyKey), or there is none left to renew the SA"
            )
        }
        switch (rekey, life) {
        case (nil, nil): return (soft, hard)
        case (let rekey?, let life): return (rekey, life ?? Self.hard(after: rekey))
        case (nil, let life?): return (life / 10 * 9, life)
        }
    }

    /// A hard limit a tenth above a soft one.
    static func hard(after soft: UInt64) -> UInt64 { soft + soft / 10 }
}
