import Glibc
public import IPPackets
import Primitives

/// An address on an interface.
public struct InterfaceAddress: Hashable, Sendable {
    /// The interface's number.
    public var linkIndex: Int32
    /// The address itself, host bits included.
    public var address: IPAddress
    /// Fixed bits of the network it lies in.
    public var prefixLength: Int
    /// Who made it (IFA_PROTO, Linux 5.18); 0 where nobody says.
    public var origin: UInt8 = 0

    /// The origin of addresses that we make.
    public static let ownOrigin: UInt8 = 0xca

    /// `address`/`prefixLength` on interface `linkIndex`.
    public init(linkIndex: Int32, address: IPAddress, prefixLength: Int, origin: UInt8 = 0) {
        self.linkIndex = linkIndex
        self.address = address
        self.prefixLength = prefixLength
        self.origin = origin
    }

    /// The network that the address lies in.
    public var prefix: IPPrefix { IPPrefix(address, length: prefixLength) ?? IPPrefix(host: address) }

    /// Reads the payload of RTM_NEWADDR; nil for a family other than IP.
    init?(payload: [UInt8]) throws(WireError) {
        var reader = ByteReader(payload.span)
        let family = try reader.u8()
        prefixLength = Int(try reader.u8())
        try reader.skip(2)
        linkIndex = try reader.hostSigned32()
        let attributes = try NetlinkAttributes(&reader)
        guard family == NetlinkNumber.familyV4 || family == NetlinkNumber.familyV6 else { return nil }
        // With a peer (IFA_ADDRESS) the local end stands in IFA_LOCAL.
        guard let octets = attributes[AddressAttribute.local] ?? attributes[AddressAttribute.address],
            let address = IPAddress(octets: octets), address.family == family
        else { throw WireError(.invalidValue("address"), at: reader.offset) }
        guard prefixLength <= address.bitWidth else {
            throw WireError(.invalidValue("prefix length"), at: 1)
        }
        self.address = address
        origin = attributes[AddressAttribute.origin]?.first ?? 0
    }
}

/// IFA_* of linux/if_addr.h.
private enum AddressAttribute {
    static let address: UInt16 = 1
    static let local: UInt16 = 2
    static let flags: UInt16 = 8
    static let origin: UInt16 = 11

    static let noDuplicateDetection: UInt32 = 0x02
    static let noPrefixRoute: UInt32 = 0x200
}

extension Netlink {
    /// All addresses of all interfaces.
    public func addresses() throws(LinuxError) -> [InterfaceAddress] {
        let operation = "list addresses"
        var writer = ByteWriter()
        writer.zeros(8)
        let messages = try dump(NetlinkNumber.getAddress, writer.bytes, operation)
        return try decode(messages, type: NetlinkNumber.newAddress, operation) { message throws(WireError) in
            try InterfaceAddress(payload: message.payload)
        }
    }

    /// Adds `address`, or changes what is there; without `prefixRoute` no route to its network appears.
    public func addAddress(_ address: InterfaceAddress, prefixRoute: Bool = true) throws(LinuxError) {
        var flags = prefixRoute ? 0 : AddressAttribute.noPrefixRoute
        // Nobody else can hold an address of a TUN, and a tentative one cannot be used at once.
        if address.address.family == NetlinkNumber.familyV6 { flags |= AddressAttribute.noDuplicateDetection }
        try change(
            NetlinkNumber.newAddress,
            flags: NetlinkNumber.create | NetlinkNumber.replace,
            try Self.body(address, flags: flags, "add address \(address.address)"),
            "add address \(address.address)/\(address.prefixLength) to link \(address.linkIndex)"
        )
    }

    /// Removes `address`.
    public func deleteAddress(_ address: InterfaceAddress) throws(LinuxError) {
        try change(
            NetlinkNumber.deleteAddress,
            try Self.body(address, flags: 0, "delete address \(address.address)"),
            "delete address \(address.address)/\(address.prefixLength) from link \(address.linkIndex)"
        )
    }

    /// struct ifaddrmsg and the attributes.
    private static func body(
        _ address: InterfaceAddress,
        flags: UInt32,
        _ operation: String
    ) throws(LinuxError) -> [UInt8] {
        guard (0...address.address.bitWidth).contains(address.prefixLength) else {
            throw LinuxError(operation: operation, errno: EINVAL, detail: "prefix length")
        }
        var writer = ByteWriter()
        writer.u8(address.address.family)
        writer.u8(UInt8(clamping: address.prefixLength))
        writer.zeros(2)
        writer.host32(address.linkIndex)
        writer.attribute(AddressAttribute.local, address.address.octets)
        writer.attribute(AddressAttribute.address, address.address.octets)
        if address.origin != 0 { writer.attribute(AddressAttribute.origin, [address.origin]) }
        if flags != 0 { writer.attribute(AddressAttribute.flags, host32: flags) }
        return writer.bytes
    }
}
