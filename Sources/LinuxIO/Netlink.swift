import CLinux
import Glibc
import Primitives

/// Requests to the kernel's routing configuration (rtnetlink): links, addresses, routes, rules.
///
/// Each call is synchronous and waits two seconds at most. One owner uses it at a time; it belongs to the
/// network namespace of the thread that made it.
public final class Netlink {
    private let socket: FileDescriptorOwner
    private var sequence: UInt32 = 0
    private var buffer = [UInt8](repeating: 0, count: 65_536)

    /// Opens the socket.
    public init() throws(LinuxError) {
        socket = FileDescriptorOwner(
            owning: try LinuxError.check(clinux_netlink_open(0, 1 << 20, 2000), "open netlink socket")
        )
    }

    /// Sends a change and waits until the kernel has made it.
    func change(
        _ type: UInt16,
        flags: UInt16 = 0,
        _ payload: [UInt8],
        _ operation: String
    ) throws(LinuxError) {
        let flags = flags | NetlinkNumber.request | NetlinkNumber.acknowledge
        _ = try exchange(type, flags: flags, payload, operation)
    }

    /// Asks for one object; what the kernel sent before it acknowledged.
    func get(_ type: UInt16, _ payload: [UInt8], _ operation: String) throws(LinuxError) -> [NetlinkMessage] {
        try exchange(
            type,
            flags: NetlinkNumber.request | NetlinkNumber.acknowledge,
            payload,
            operation
        )
    }

    /// Asks for all objects.
    ///
    /// A dump that a change made inconsistent, or that did not fit the socket's buffer, is asked for again.
    func dump(_ type: UInt16, _ payload: [UInt8], _ operation: String) throws(LinuxError) -> [NetlinkMessage]
    {
        var last = LinuxError(operation: operation, errno: EINTR, detail: "changes all the time")
        for _ in 0..<8 {
            do throws(LinuxError) {
                let flags = NetlinkNumber.request | NetlinkNumber.dump
                let messages = try exchange(type, flags: flags, payload, operation)
                if messages.allSatisfy({ $0.flags & NetlinkNumber.dumpInterrupted == 0 }) { return messages }
            } catch {
                guard error.errno == ENOBUFS else { throw error }
                last = error
            }
        }
        throw last
    }

    /// Runs `body` on each message's payload; what does not parse is an error of `operation`.
    func decode<Value>(
        _ messages: [NetlinkMessage],
        type: UInt16,
        _ operation: String,
        _ body: (NetlinkMessage) throws(WireError) -> Value?
    ) throws(LinuxError) -> [Value] {
        var values = [Value]()
        for message in messages where message.type == type {
            do throws(WireError) {
                if let value = try body(message) { values.append(value) }
            } catch {
                throw LinuxError(operation: operation, errno: EBADMSG, detail: error.description)
            }
        }
        return values
    }

    private func exchange(
        _ type: UInt16,
        flags: UInt16,
        _ payload: [UInt8],
        _ operation: String
    ) throws(LinuxError) -> [NetlinkMessage] {
        sequence &+= 1
        let request = NetlinkMessage(type: type, flags: flags, sequence: sequence, payload: payload).bytes
        let sent = unsafe request.withUnsafeBytes {
            unsafe clinux_netlink_send(socket.descriptor, $0.baseAddress, $0.count)
        }
        try LinuxError.check(Int32(clamping: sent), operation)
        var answers = [NetlinkMessage]()
        while true {
            for message in try receive(operation) where message.sequence == sequence {
                guard message.type == NetlinkNumber.error || message.type == NetlinkNumber.done else {
                    answers.append(message)
                    continue
                }
                if message.type == NetlinkNumber.done, message.payload.count < 4 { return answers }
                let result: NetlinkResult
                do throws(WireError) {
                    result = try NetlinkResult(message)
                } catch {
                    throw LinuxError(operation: operation, errno: EBADMSG, detail: error.description)
                }
                guard result.code == 0 else {
                    throw LinuxError(operation: operation, errno: result.code, detail: result.text)
                }
                if message.flags & NetlinkNumber.dumpInterrupted != 0 { answers.append(message) }
                return answers
            }
        }
    }

    private func receive(_ operation: String) throws(LinuxError) -> [NetlinkMessage] {
        let size = unsafe buffer.withUnsafeMutableBytes {
            unsafe clinux_netlink_receive(socket.descriptor, $0.baseAddress, $0.count)
        }
        guard size >= 0 else {
            let code = Int32(clamping: 0 - size)
            throw LinuxError(operation: operation, errno: code == EAGAIN ? ETIMEDOUT : code)
        }
        do throws(WireError) {
            return try NetlinkMessage.parse(Array(buffer.prefix(size)))
        } catch {
            throw LinuxError(operation: operation, errno: EBADMSG, detail: error.description)
        }
    }
}
