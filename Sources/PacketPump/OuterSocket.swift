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
    /// Binds a port of one family's wildcard address.
    static func open(
        port: UInt16,
        isIPv6: Bool,
        mark: UInt32,
        buffer: Int,
        reusesPort: Bool
    ) throws(PumpError) -> OwnedDescriptor {
        var local = clinux_endpoint()
        local.port = port
        local.is_ipv6 = isIPv6 ? 1 : 0
        var options = clinux_socket_options()
        options.mark = mark
        options.receive_buffer = Int32(clamping: buffer)
        options.send_buffer = Int32(clamping: buffer)
        options.reuse_port = reusesPort ? 1 : 0
        let number = unsafe clinux_udp_open(&local, &options)
        return OwnedDescriptor(try PumpError.check(number, "bind UDP port \(port)"))
    }

    /// The same for IPv6, or nil on a machine without it.
    static func openIPv6(port: UInt16, mark: UInt32, buffer: Int, reusesPort: Bool) throws(PumpError)
        -> OwnedDescriptor?
    {
        do throws(PumpError) {
            return try open(port: port, isIPv6: true, mark: mark, buffer: buffer, reusesPort: reusesPort)
        } catch {
            // EAFNOSUPPORT, EADDRNOTAVAIL: IPv6 is not there or switched off.
            if error.errno == 97 || error.errno == 99 { return nil }
            throw error
        }
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
