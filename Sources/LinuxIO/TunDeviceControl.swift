import CLinux
import Glibc

/// Makes, finds and opens the TUN devices that carry the traffic in clear.
public enum TunDeviceControl {
    /// What a queue of a device is opened with.
    public struct Options: Hashable, Sendable {
        /// Each descriptor is a queue of its own (IFF_MULTI_QUEUE); all of one device must agree.
        public var multiQueue: Bool
        /// Packets carry a virtio header of 10 octets (IFF_VNET_HDR).
        public var virtioHeader: Bool
        /// What the reader can take apart: TUN_F_* bits, 0 for single packets with checksums only.
        public var offload: UInt32
        /// Octets the kernel may hold for one descriptor of what was written; nil for its default.
        public var sendBufferOctets: Int32?

        /// By default a multi-queue device with virtio headers and no offload.
        public init(
            multiQueue: Bool = true,
            virtioHeader: Bool = true,
            offload: UInt32 = 0,
            sendBufferOctets: Int32? = nil
        ) {
            self.multiQueue = multiQueue
            self.virtioHeader = virtioHeader
            self.offload = offload
            self.sendBufferOctets = sendBufferOctets
        }

        /// The IFF_* bits.
        public var flags: UInt32 {
            var flags = CLINUX_IFF_TUN | CLINUX_IFF_NO_PI
            if multiQueue { flags |= CLINUX_IFF_MULTI_QUEUE }
            if virtioHeader { flags |= CLINUX_IFF_VNET_HDR }
            return UInt32(flags)
        }
    }

    /// The link group of all our devices.
    public static let linkGroup: UInt32 = 0xca05e

    /// The alias by which an instance knows its devices again.
    public static func alias(instance: String) -> String { "causeway:\(instance)" }

    /// True for a TUN that `instance` made.
    public static func isOurs(_ link: LinkInfo, instance: String) -> Bool {
        link.kind == "tun" && link.group == linkGroup && link.alias == alias(instance: instance)
    }

    /// The devices that `instance` has made, also before a crash.
    public static func devices(_ netlink: Netlink, instance: String) throws(LinuxError) -> [LinkInfo] {
        try netlink.allLinks().filter { isOurs($0, instance: instance) }
    }

    /// Opens a queue of device `name`, which is created when absent.
    public static func open(name: String, options: Options = Options()) throws(LinuxError)
        -> FileDescriptorOwner
    {
        let operation = "open TUN \(name)"
        guard isValid(name) else {
            throw LinuxError(operation: operation, errno: EINVAL, detail: "not an interface name")
        }
        let descriptor = unsafe clinux_tun_open(name, options.flags, options.offload)
        let owner = FileDescriptorOwner(owning: try LinuxError.check(descriptor, operation))
        if let octets = options.sendBufferOctets {
            try LinuxError.check(
                clinux_tun_set_send_buffer(owner.descriptor, octets),
                "set send buffer of TUN \(name)"
            )
        }
        return owner
    }

    /// Makes the device of `name` stay, or go with its last descriptor.
    public static func setPersistent(_ device: FileDescriptorOwner, _ persistent: Bool) throws(LinuxError) {
        try LinuxError.check(
            clinux_tun_set_persist(device.descriptor, persistent ? 1 : 0),
            "set persistence of TUN"
        )
    }

    /// Opens the persistent device `name` of `instance`, made and labelled when absent.
    ///
    /// A device of that name which is not ours is refused with EEXIST, and stays as it is.
    public static func prepare(
        name: String,
        instance: String,
        options: Options = Options(),
        netlink: Netlink
    ) throws(LinuxError) -> (device: FileDescriptorOwner, link: LinkInfo) {
        let operation = "prepare TUN \(name)"
        if let link = try netlink.link(named: name) {
            guard isOurs(link, instance: instance) else {
                throw LinuxError(operation: operation, errno: EEXIST, detail: "made by somebody else")
            }
            return (try open(name: name, options: options), link)
        }
        let device = try open(name: name, options: options)
        guard let made = try netlink.link(named: name) else {
            throw LinuxError(operation: operation, errno: ENODEV)
        }
        // Labelled before it is made to stay: a crash in between leaves nothing behind.
        try netlink.setLink(made.index, alias: alias(instance: instance), group: linkGroup)
        try setPersistent(device, true)
        guard let link = try netlink.link(named: name) else {
            throw LinuxError(operation: operation, errno: ENODEV)
        }
        return (device, link)
    }

    /// The kernel's own rule for names, without the '%' that would ask it to number the device.
    static func isValid(_ name: String) -> Bool {
        (1...15).contains(name.utf8.count) && name != "." && name != ".."
            && name.utf8.allSatisfy { (33...126).contains($0) && ![37, 47, 58].contains($0) }
    }
}
