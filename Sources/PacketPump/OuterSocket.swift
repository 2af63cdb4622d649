import CLinux
import IPPackets

/// A file descriptor that is closed with its owner.
final class OwnedDescriptor: Sendable {
    let number: Int32

    init(_ number: Int32) { self.number = number }

    deinit { clinux_close(number) }
}

/// Makes the sockets of the outer side.
enum OuterSocket {
    /// Binds a port of one family's wildcard address; with `sharesPort` it belongs to the group of the ESP port.
    static func open(
        port: UInt16,
        isIPv6: Bool,
        mark: UInt32,
        buffer: Int,
        sharesPort: Bool,
        dontFragment: Bool
    ) throws(PumpError) -> OwnedDescriptor {
        var local = clinux_endpoint()
        local.port = port
        local.is_ipv6 = isIPv6 ? 1 : 0
        var options = options(mark: mark, buffer: buffer, dontFragment: dontFragment)
        options.reuse_port = sharesPort ? 1 : 0
        // The kernel gives an error about the shared port to any socket of the group.
        options.receive_errors = sharesPort ? 1 : 0
        let number = unsafe clinux_udp_open(&local, &options)
        return OwnedDescriptor(try PumpError.check(number, "bind UDP port \(port)"))
    }

    /// The same for IPv6, or nil on a machine without it.
    static func openIPv6(
        port: UInt16,
        mark: UInt32,
        buffer: Int,
        sharesPort: Bool,
        dontFragment: Bool
    ) throws(PumpError) -> OwnedDescriptor? {
        do throws(PumpError) {
            return try open(
                port: port,
                isIPv6: true,
                mark: mark,
                buffer: buffer,
                sharesPort: sharesPort,
                dontFragment: dontFragment
            )
        } catch {
            guard error.isIPv6Absent else { throw error }
            return nil
        }
    }

    /// A socket for IP protocol 50 of one family.
    static func openRawESP(isIPv6: Bool, mark: UInt32, buffer: Int) throws(PumpError) -> OwnedDescriptor {
        var options = options(mark: mark, buffer: buffer, dontFragment: true)
        options.receive_errors = 1
        let number = unsafe clinux_raw_esp_open(isIPv6 ? 1 : 0, &options)
        return OwnedDescriptor(
            try PumpError.check(number, "open a raw socket for ESP over \(isIPv6 ? "IPv6" : "IPv4")")
        )
    }

    /// What Dispatch is to watch in place of a socket with an error queue.
    static func watch(_ socket: OwnedDescriptor) throws(PumpError) -> OwnedDescriptor {
        let poller = OwnedDescriptor(try PumpError.check(clinux_poller_open(), "watch a socket"))
        try PumpError.check(clinux_poller_add(poller.number, socket.number, 0), "watch a socket")
        return poller
    }

    private static func options(mark: UInt32, buffer: Int, dontFragment: Bool) -> clinux_socket_options {
        var options = clinux_socket_options()
        options.mark = mark
        options.receive_buffer = Int32(clamping: buffer)
        options.send_buffer = Int32(clamping: buffer)
        options.dont_fragment = dontFragment ? 1 : 0
        return options
    }
}

extension PumpError {
    /// EAFNOSUPPORT, EADDRNOTAVAIL: IPv6 is not there or switched off.
    var isIPv6Absent: Bool { errno == 97 || errno == 99 }
}

/// The sockets for ESP without UDP (IP protocol 50).
///
/// To be made before the IKE sockets: while nobody listens, the kernel answers the packets of a peer that still
/// has SAs with us by "protocol unreachable".
public final class RawESPSockets: Sendable {
    let socket4: OwnedDescriptor?
    let socket6: OwnedDescriptor?
    /// Why there are none: mostly a missing CAP_NET_RAW.
    public let failure: PumpError?

    /// Opens both families; a refusal is told by `failure`, for ESP in UDP works without.
    public init(mark: UInt32, socketBuffer: Int = 8 << 20) {
        func open(isIPv6: Bool) -> Result<OwnedDescriptor, PumpError> {
            Result { () throws(PumpError) in
                try OuterSocket.openRawESP(isIPv6: isIPv6, mark: mark, buffer: socketBuffer)
            }
        }
        let (first, second) = (open(isIPv6: false), open(isIPv6: true))
        socket4 = try? first.get()
        socket6 = try? second.get()
        var failures = [PumpError]()
        if case .failure(let error) = first { failures.append(error) }
        if case .failure(let error) = second, !error.isIPv6Absent { failures.append(error) }
        failure = failures.first
    }
}

extension clinux_endpoint {
    init(_ endpoint: Endpoint) {
        self.init()
        let bits = AddressBits(endpoint.address)
        high = bits.high
        low = bits.low
        is_ipv6 = bits.isIPv6 ? 1 : 0
        port = endpoint.port
    }

    var address: IPAddress { AddressBits(high: high, low: low, isIPv6: is_ipv6 != 0).address }

    /// As a value, with `port` instead of its own if given.
    func endpoint(port other: UInt16? = nil) -> Endpoint { Endpoint(address, other ?? port) }

    /// True for the same address and port.
    func isSame(as other: clinux_endpoint) -> Bool {
        low == other.low && high == other.high && port == other.port && is_ipv6 == other.is_ipv6
    }
}
