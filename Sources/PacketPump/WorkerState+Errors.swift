import CLinux
import ESP
public import IPPackets
import Primitives

/// An ICMP error about an ESP packet in UDP, which the kernel gave to a socket of the control plane.
public struct OuterError: Hashable, Sendable {
    /// Where the packet was to go.
    public let remote: Endpoint
    /// The MTU of the link that it did not fit.
    public let mtu: Int
    /// The start of the packet: SPI and sequence number.
    public let quoted: [UInt8]

    init?(_ error: clinux_outer_error) {
        guard error.is_too_big != 0, error.is_local == 0, error.quoted_count >= 8 else { return nil }
        remote = error.remote.endpoint()
        mtu = Int(error.mtu)
        let octets = error.quoted
        quoted = [octets.0, octets.1, octets.2, octets.3, octets.4, octets.5, octets.6, octets.7]
    }
}

extension WorkerState {
    /// Errors that a turn takes from a socket's queue, which is bounded by the socket's buffer.
    private static let errorBudget = 64

    /// Empties the error queue of a socket and learns from it what paths carry.
    mutating func drainErrors(_ kind: OuterKind, at now: Instant) {
        guard let socket = socket(kind) else { return }
        var error = clinux_outer_error()
        for _ in 0..<Self.errorBudget {
            guard unsafe clinux_receive_error(socket.number, &error) == 1 else { return }
            guard error.is_too_big != 0, errorLimit.allows(at: now) else { continue }
            if error.is_local != 0 {
                engine.deviceTooSmall(remote: error.remote.address, mtu: Int(error.mtu))
            } else if let report = OuterError(error) {
                learn(report)
                // The kernel gives it to any socket of the group.
                if crossing != nil { errorsForOthers.append(report) }
            }
        }
    }

    /// Takes an error that another socket got.
    mutating func receiveError(_ error: OuterError) {
        guard errorLimit.allows(at: PumpClock.now()) else { return }
        learn(error)
    }

    private mutating func learn(_ error: OuterError) {
        func word(_ octets: ArraySlice<UInt8>) -> UInt32 { octets.reduce(0) { $0 << 8 | UInt32($1) } }
        engine.pathTooBig(
            QuotedPacket(
                spi: word(error.quoted.prefix(4)),
                sequence: word(error.quoted.dropFirst(4).prefix(4)),
                remote: error.remote.address,
                mtu: error.mtu
            )
        )
    }
}
