import IPPackets
import LinuxIO

/// Which addresses this machine has on interfaces that are up, and what a change of them asks for.
struct NetworkView: Equatable, Sendable {
    /// Nil until it was looked at.
    private(set) var addresses: Set<IPAddress>?
    private(set) var links: Set<Int32> = []
    private var mtus: [IPAddress: Int] = [:]
    private var linksByAddress: [IPAddress: Int32] = [:]

    init() {}

    init(addresses: Set<IPAddress>, links: Set<Int32>) {
        self.addresses = addresses
        self.links = links
    }

    /// Reads them from the kernel; `excluded` is our own TUN.
    init(_ netlink: Netlink, excluding excluded: String) throws(LinuxError) {
        let up = try netlink.allLinks().filter { $0.isUp && $0.name != excluded }
        let byIndex = Dictionary(up.map { ($0.index, $0.mtu) }, uniquingKeysWith: { first, _ in first })
        links = Set(byIndex.keys)
        let present = try netlink.addresses().filter { byIndex[$0.linkIndex] != nil }
        addresses = Set(present.map { $0.address })
        for entry in present {
            mtus[entry.address] = byIndex[entry.linkIndex]
            linksByAddress[entry.address] = entry.linkIndex
        }
    }

    /// The MTU of the interface that has `address`.
    func mtu(of address: IPAddress) -> Int? { mtus[address] }

    /// The number of the interface that has `address`.
    func link(of address: IPAddress) -> Int32? { linksByAddress[address] }

    /// Addresses that a peer elsewhere could use, in a fixed order.
    var usable: [IPAddress] { (addresses ?? []).filter { $0.isRoutedUnicast }.sorted() }

    /// True for an address that is there, or while nothing is known.
    func isPresent(_ address: IPAddress) -> Bool {
        addresses?.contains(address) ?? true
    }

    /// What becomes of IKE_SAs when the network looks like `self` and looked like `before`.
    struct Review: Equatable, Sendable {
        /// Their local address is gone: they end here.
        var ended: [UInt32] = []
        /// Their path may have changed: they ask the peer.
        var asked: [UInt32] = []
    }

    func review(
        _ ikes: [(id: UInt32, local: IPAddress)],
        before: NetworkView,
        changes: NetlinkMonitor.Changes
    ) -> Review {
        var review = Review()
        // An interface that only counts or renames itself is none of ours.
        let concerns = self != before || changes.contains(.routesChanged)
        for (id, local) in ikes {
            // One that never was on an interface (a local route stands for it) cannot vanish from there.
            if !isPresent(local), before.isPresent(local) {
                review.ended.append(id)
            } else if concerns {
                review.asked.append(id)
            }
        }
        return review
    }
}
