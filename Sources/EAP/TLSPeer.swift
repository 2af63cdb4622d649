import Cryptography
import Primitives

/// EAP-TLS (RFC 5216 §3): carries the flights of a handshake in fragments.
struct TLSPeer: Sendable {
    private enum Flag {
        static let length: UInt8 = 0x80
        static let more: UInt8 = 0x40
        static let start: UInt8 = 0x20
    }

    /// Octets of a flight that is put together.
    static let longestFlight = 65_536
    /// Octets of ours in one packet: less than any path takes in one IKE message.
    private static let fragmentLength = 1024

    private let session: TLSSession
    private var incoming: [UInt8] = []
    private var outgoing: ArraySlice<UInt8> = []
    private var isStarted = false
    private var isComputing = false
    /// The master session key, once the handshake is done.
    ///
    /// RFC 9190 §2.5 has the server say that it is content; older servers do not. IKE's AUTH, which is made with this key,
    /// says as much.
    private(set) var key: SecretKey?

    init(_ session: TLSSession) { self.session = session }

    mutating func answer(_ data: [UInt8]) -> EAPMethodResult {
        guard !isComputing else { return .failed(.malformed("it asks while its last flight is looked at")) }
        var reader = ByteReader(data.span)
        guard let flags = try? reader.u8() else { return .failed(.malformed("its TLS packet is empty")) }
        if flags & Flag.length != 0 {
            guard let length = try? reader.u32() else {
                return .failed(.malformed("its TLS packet is too short"))
            }
            guard length <= Self.longestFlight else {
                return .failed(.malformed("its TLS flight has \(length) octets"))
            }
        }
        let octets = reader.rest()
        if flags & Flag.start != 0 {
            guard !isStarted, octets.isEmpty else { return .failed(.malformed("it starts TLS twice")) }
            isStarted = true
            return compute([])
        }
        guard isStarted else { return .failed(.malformed("it does not start TLS")) }
        if !outgoing.isEmpty {
            guard octets.isEmpty else {
                return .failed(.malformed("it speaks while it should take our fragments"))
            }
            return .respond(nextFragment(isFirst: false))
        }
        guard incoming.count + octets.count <= Self.longestFlight else {
            return .failed(.malformed("its TLS flight is longer than \(Self.longestFlight) octets"))
        }
        incoming += octets
        if flags & Flag.more != 0 { return .respond([0]) }
        let flight = incoming
        incoming = []
        return compute(flight)
    }

    private mutating func compute(_ input: [UInt8]) -> EAPMethodResult {
        isComputing = true
        return .compute(EAPWork(session: session, input: input))
    }

    mutating func take(_ progress: TLSProgress) -> EAPMethodResult {
        isComputing = false
        switch progress {
        case .waiting: return compute([])
        case .going(let octets): return send(octets)
        case .done(let octets, let key):
            self.key = key
            return send(octets)
        case .failed(let octets, let reason):
            let failure = EAPFailure.server("TLS failed: \(reason)")
            guard !octets.isEmpty else { return .failed(failure) }
            outgoing = octets[...]
            return .tellAndFail(nextFragment(isFirst: true), failure)
        }
    }

    /// A flight, or the empty packet that says that there is none.
    private mutating func send(_ octets: [UInt8]) -> EAPMethodResult {
        guard !octets.isEmpty else { return .respond([0]) }
        outgoing = octets[...]
        return .respond(nextFragment(isFirst: true))
    }

    private mutating func nextFragment(isFirst: Bool) -> [UInt8] {
        let total = UInt32(truncatingIfNeeded: outgoing.count)
        let part = outgoing.prefix(Self.fragmentLength)
        outgoing = outgoing.dropFirst(Self.fragmentLength)
        let hasMore = !outgoing.isEmpty
        var writer = ByteWriter()
        let saysLength = isFirst && hasMore
        writer.u8((hasMore ? Flag.more : 0) | (saysLength ? Flag.length : 0))
        if saysLength { writer.u32(total) }
        writer.append(Array(part))
        return writer.bytes
    }
}
