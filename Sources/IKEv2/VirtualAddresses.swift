import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy

/// What dynamic selectors of both sides stand for.
struct SelectorEnds {
    var local: [IPAddress]
    var remote: [IPAddress]
}

/// What the peer gave us of its network (RFC 7296 §2.19).
struct VirtualAddresses: Equatable {
    /// Ours in its network.
    var addresses: [IPAddress] = []
    /// Its name servers.
    var nameServers: [IPAddress] = []
    /// The domains they are for.
    var domains: [String] = []

    /// More of each than anybody gives.
    private static let limit = 16

    init() {}

    /// What an IKE_AUTH response gives of what was asked.
    ///
    /// Addresses of families that were not asked for are nobody's wish, and one that this machine has on another interface
    /// would take that one's traffic.
    init(_ payloads: [Payload], requested: [IPAddress], present: [IPAddress]) {
        guard let reply = payloads.configuration, reply.kind == .reply else { return }
        let families = Set(requested.map { $0.bitWidth })
        let given = reply.addresses.filter {
            families.contains($0.bitWidth) && $0.isRoutedUnicast && !present.contains($0)
        }
        addresses = Array(given.prefix(Self.limit))
        guard !families.isEmpty else { return }
        nameServers = Array(reply.nameServers.prefix(Self.limit))
        domains = Array(reply.domains.prefix(Self.limit))
    }
}

extension InitiatorAttempt {
    /// What we ask for: what the last IKE_SA of the connection had, where any address would do.
    func requestedAddresses(_ context: EngineContext) -> [IPAddress] {
        let last = context.virtualAddresses[connection.name] ?? []
        return connection.requestedAddresses.map { wish in
            guard wish.isUnspecified else { return wish }
            return last.first { $0.bitWidth == wish.bitWidth } ?? wish
        }
    }

    /// What dynamic selectors stand for in the request: any address that we may be given.
    func offeredEnds(_ common: SACommon) -> SelectorEnds {
        var ends = common.ends
        if !connection.requestedAddresses.isEmpty { ends.local = connection.requestedAddresses }
        return ends
    }
}

extension Established {
    /// Takes what an IKE_AUTH response grants: time, and addresses.
    mutating func takeGrants(_ payloads: [Payload], _ common: SACommon, _ context: inout EngineContext) {
        noteAuthLifetime(payloads, common, context)
        takeAddresses(payloads, &context)
    }

    /// Takes what an IKE_AUTH response gives, and remembers it for the next IKE_SA.
    private mutating func takeAddresses(_ payloads: [Payload], _ context: inout EngineContext) {
        let wishes = connection.requestedAddresses
        guard !wishes.isEmpty else { return }
        virtual = VirtualAddresses(payloads, requested: wishes, present: context.localAddresses)
        context.virtualAddresses[connection.name] = virtual.addresses
    }

    /// We asked for an address and got none.
    var lacksAddress: Bool { !connection.requestedAddresses.isEmpty && virtual.addresses.isEmpty }

    /// What dynamic selectors stand for: the virtual addresses where there are some.
    func ends(_ common: SACommon) -> SelectorEnds {
        var ends = common.ends
        if !virtual.addresses.isEmpty { ends.local = virtual.addresses }
        return ends
    }
}
