import IKECore
import IPsecTypes
import Vici

/// What `get-algorithms` and `get-counters` answer.
extension ViciLists {
    /// What we can carry out, by strongSwan's kinds and names; behind each the library that does it.
    static let algorithms = ViciMessage { message in
        let supported = AlgorithmTable.entries.filter { $0.isSupported }
        let section = { (kind: String, fits: (AlgorithmEntry) -> Bool, message: inout ViciMessage) in
            message.section(kind) { list in
                for entry in supported where fits(entry) { list.set(entry.name, library) }
            }
        }
        let isAEAD = { (entry: AlgorithmEntry) in Transform(entry.type, entry.id).isAEAD }
        section("encryption", { $0.type == .encryption && !isAEAD($0) }, &message)
        section("integrity", { $0.type == .integrity }, &message)
        section("aead", { $0.type == .encryption && isAEAD($0) }, &message)
        message.section("hasher") { list in
            for name in ["HASH_SHA1", "HASH_SHA2_256", "HASH_SHA2_384", "HASH_SHA2_512"] {
                list.set(name, library)
            }
        }
        section("prf", { $0.type == .prf }, &message)
        message.section("xof") { _ in }
        message.section("kdf") { list in
            list.set("KDF_PRF", library)
            list.set("KDF_PRF_PLUS", library)
        }
        message.section("drbg") { _ in }
        // strongSwan 6 calls it "ke"; swanctl prints whatever there is.
        section("dh", { $0.type == .keyExchange && $0.id != 0 }, &message)
        message.section("rng") { $0.set("RNG_STRONG", "getrandom") }
        message.section("nonce-gen") { $0.set("NONCE_GEN", "getrandom") }
    }

    private static let library = "openssl"

    /// The answer of `get-counters`: of one connection, of each, or with neither the sum.
    static func counters(_ counters: IKECounters, name: String?, all: Bool) -> ViciMessage {
        var sections: [(name: String, values: [IKECounter: UInt64])] = []
        var error: String?
        if all {
            sections = counters.byConnection.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        } else if let name {
            if let values = counters.byConnection[name] {
                sections = [(name, values)]
            } else {
                error = "no counters found for this connection"
            }
        } else {
            sections = [("", counters.total)]
        }
        return ViciMessage { message in
            message.section("counters") { list in
                for (name, values) in sections {
                    list.section(name) { section in
                        for counter in IKECounter.allCases {
                            section.set(counter.rawValue, values[counter] ?? 0)
                        }
                    }
                }
            }
            message.set("success", flag: error == nil)
            if let error { message.set("errmsg", error) }
        }
    }
}
