import Glibc
import Primitives

/// A network interface.
public struct LinkInfo: Hashable, Sendable {
    /// Its number.
    public var index: Int32
    /// Its name.
    public var name: String
    /// Its MTU in octets.
    public var mtu: Int
    /// True when it is administratively up.
    public var isUp: Bool
    /// Free text that whoever made it has left.
    public var alias: String?
    /// The driver's name for virtual ones: "tun", "veth", "bridge".
    public var kind: String?
    /// The group for bulk operations; 0 by default.
    public var group: UInt32

    /// Describes an interface.
    public init(
        index: Int32,
        name: String,
        mtu: Int,
        isUp: Bool,
        alias: String? = nil,
        kind: String? = nil,
        group: UInt32 = 0
    ) {
        self.index = index
        self.name = name
        self.mtu = mtu
        self.isUp = isUp
        self.alias = alias
        self.kind = kind
        self.group = group
    }

    /// Reads the payload of RTM_NEWLINK.
    init(payload: [UInt8]) throws(WireError) {
        var reader = ByteReader(payload.span)
        try reader.skip(4)
        index = try reader.hostSigned32()
        isUp = try reader.host32() & 1 != 0
        try reader.skip(4)
        let attributes = try NetlinkAttributes(&reader)
        name = attributes.text(LinkAttribute.name) ?? ""
        mtu = Int(try attributes.host32(LinkAttribute.mtu) ?? 0)
        alias = attributes.text(LinkAttribute.alias)
        kind = try attributes.nest(LinkAttribute.information)?.text(1)
        group = try attributes.host32(LinkAttribute.group) ?? 0
    }
}

/// IFLA_* of linux/if_link.h.
private enum LinkAttribute {
    static let name: UInt16 = 3
    static let mtu: UInt16 = 4
    static let queueLength: UInt16 = 13
    static let information: UInt16 = 18
    static let alias: UInt16 = 20
    static let group: UInt16 = 27
}

extension Netlink {
    /// The interface called `name`, or nil.
    public func link(named name: String) throws(LinuxError) -> LinkInfo? {
        // IFNAMSIZ is 16 with the terminator.
        guard (1...15).contains(name.utf8.count) else { return nil }
        let operation = "get link \(name)"
        var writer = Self.linkHeader()
        writer.attribute(LinkAttribute.name, text: name)
        do throws(LinuxError) {
            return try links(try get(NetlinkNumber.getLink, writer.bytes, operation), operation).first
        } catch {
            if error.errno == ENODEV { return nil }
            throw error
        }
    }

    /// All interfaces.
    public func allLinks() throws(LinuxError) -> [LinkInfo] {
        let operation = "list links"
        return try links(try dump(NetlinkNumber.getLink, Self.linkHeader().bytes, operation), operation)
    }

    /// Changes what is given of interface `index`, leaves the rest.
    public func setLink(
        _ index: Int32,
        up: Bool? = nil,
        mtu: Int? = nil,
        txQueueLength: Int? = nil,
        alias: String? = nil,
        group: UInt32? = nil
    ) throws(LinuxError) {
        let operation = "set link \(index)"
        guard mtu.map({ (0...0x7fff_ffff).contains($0) }) ?? true,
            txQueueLength.map({ (0...0x7fff_ffff).contains($0) }) ?? true
        else { throw LinuxError(operation: operation, errno: EINVAL) }
        var writer = Self.linkHeader(index, flags: up == true ? 1 : 0, change: up == nil ? 0 : 1)
        if let mtu { writer.attribute(LinkAttribute.mtu, host32: UInt32(mtu)) }
        if let txQueueLength {
            writer.attribute(LinkAttribute.queueLength, host32: UInt32(txQueueLength))
        }
        if let alias { writer.attribute(LinkAttribute.alias, Array(alias.utf8.prefix(255))) }
        if let group { writer.attribute(LinkAttribute.group, host32: group) }
        try change(NetlinkNumber.newLink, writer.bytes, operation)
    }

    /// Removes interface `index`.
    public func deleteLink(_ index: Int32) throws(LinuxError) {
        let operation = "delete link \(index)"
        guard index > 0 else { throw LinuxError(operation: operation, errno: EINVAL) }
        try change(NetlinkNumber.deleteLink, Self.linkHeader(index).bytes, operation)
    }

    /// Removes all interfaces of `group` at once; none is no error.
    public func deleteLinks(group: UInt32) throws(LinuxError) {
        let operation = "delete links of group \(group)"
        // Group 0 is where every interface of the machine begins.
        guard group != 0 else { throw LinuxError(operation: operation, errno: EINVAL) }
        var writer = Self.linkHeader()
        writer.attribute(LinkAttribute.group, host32: group)
        do throws(LinuxError) {
            try change(NetlinkNumber.deleteLink, writer.bytes, operation)
        } catch {
            guard error.errno == ENODEV else { throw error }
        }
    }

    private func links(_ messages: [NetlinkMessage], _ operation: String) throws(LinuxError) -> [LinkInfo] {
        try decode(messages, type: NetlinkNumber.newLink, operation) { message throws(WireError) in
            try LinkInfo(payload: message.payload)
        }
    }

    /// struct ifinfomsg.
    private static func linkHeader(_ index: Int32 = 0, flags: UInt32 = 0, change: UInt32 = 0) -> ByteWriter {
        var writer = ByteWriter()
        writer.zeros(4)
        writer.host32(index)
        writer.host32(flags)
        writer.host32(change)
        return writer
    }
}
