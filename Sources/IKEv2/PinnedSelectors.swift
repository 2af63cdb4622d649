import IKECore
import IPsecTypes
import Policy

extension TunnelPolicy {
    /// The same with the addresses that a CHILD_SA of it has in place of dynamic ones: a rekey keeps what is in use
    /// (RFC 7296 §2.9.2), also when an outer address has changed since.
    func pinned(to child: ChildSASnapshot) -> TunnelPolicy {
        var result = self
        result.localSelectors = Self.pinned(localSelectors, child.localSelectors)
        result.remoteSelectors = Self.pinned(remoteSelectors, child.remoteSelectors)
        return result
    }

    private static func pinned(_ configured: [ConfiguredSelector], _ used: [TrafficSelector])
        -> [ConfiguredSelector]
    {
        guard configured.contains(where: { $0.fixed == nil }) else { return configured }
        var result = configured.filter { $0.fixed != nil }
        for selector in used where !result.contains(.fixed(selector)) { result.append(.fixed(selector)) }
        return result
    }
}
