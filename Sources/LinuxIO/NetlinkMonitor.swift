import CLinux
public import Dispatch
import Glibc

/// Watches links, addresses and routes for changes that may ask for another path to a peer.
///
/// Belongs to the network namespace of the thread that made it. Every stored property is immutable and
/// Dispatch allows `cancel` from any thread.
@safe
public final class NetlinkMonitor: @unchecked Sendable {
    /// What has changed.
    public struct Changes: OptionSet, Hashable, Sendable {
        /// The bits.
        public let rawValue: UInt8

        /// The set with these bits.
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// An interface came, went or changed.
        public static let linksChanged = Changes(rawValue: 1)
        /// An address came or went.
        public static let addressesChanged = Changes(rawValue: 2)
        /// A route that is not ours came or went.
        public static let routesChanged = Changes(rawValue: 4)
        /// Events were lost: anything may have changed.
        public static let all: Changes = [.linksChanged, .addressesChanged, .routesChanged]
    }

    private let source: any DispatchSourceRead

    /// Calls `handler` on `queue`, once for what has piled up, until this object is released.
    ///
    /// Routes with `ownProtocol` are left out: otherwise our reaction would be the next event.
    public init(
        queue: DispatchQueue,
        ownProtocol: UInt8 = Route.ownProtocol,
        handler: @escaping @Sendable (Changes) -> Void
    ) throws(LinuxError) {
        // RTMGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE.
        let groups: UInt32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
        let owner = FileDescriptorOwner(
            owning: try LinuxError.check(clinux_netlink_open(groups, 1 << 20, 0), "open netlink monitor")
        )
        source = DispatchSource.makeReadSource(fileDescriptor: owner.descriptor, queue: queue)
        source.setEventHandler { @Sendable in
            let changes = Self.drain(owner.descriptor, ownProtocol)
            if !changes.isEmpty { handler(changes) }
        }
        // Keeps the descriptor open until Dispatch has let go of it.
        source.setCancelHandler { @Sendable in _ = owner.descriptor }
        source.activate()
    }

    deinit {
        source.cancel()
    }

    /// What one datagram reports.
    static func changes(_ datagram: [UInt8], ownProtocol: UInt8) -> Changes {
        guard let messages = try? NetlinkMessage.parse(datagram) else { return .all }
        var changes: Changes = []
        for message in messages {
            switch message.type {
            case NetlinkNumber.newLink, NetlinkNumber.deleteLink: changes.insert(.linksChanged)
            case NetlinkNumber.newAddress, NetlinkNumber.deleteAddress: changes.insert(.addressesChanged)
            case NetlinkNumber.newRoute, NetlinkNumber.deleteRoute:
                // struct rtmsg: the protocol is octet 5.
                if message.payload.dropFirst(5).first != ownProtocol { changes.insert(.routesChanged) }
            default: break
            }
        }
        return changes
    }

    private static func drain(_ descriptor: Int32, _ ownProtocol: UInt8) -> Changes {
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var changes: Changes = []
        // A bound, so that a storm of events does not hold the queue; Dispatch calls again.
        for _ in 0..<256 {
            let size = unsafe buffer.withUnsafeMutableBytes {
                unsafe clinux_netlink_receive(descriptor, $0.baseAddress, $0.count)
            }
            if size >= 0 {
                changes.formUnion(Self.changes(Array(buffer.prefix(size)), ownProtocol: ownProtocol))
            } else if Int32(clamping: 0 - size) == EAGAIN {
                break
            } else {
                // ENOBUFS: the kernel dropped events.
                changes = .all
            }
        }
        return changes
    }
}
