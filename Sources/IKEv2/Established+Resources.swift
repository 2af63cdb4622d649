import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Several CHILD_SAs with the same selectors, one for each worker of the data plane (RFC 9611).
///
/// Each is a tunnel of its own here, so rekeys, collisions and deletions are as with any other one. The first comes up
/// like a tunnel alone; whoever began it begins the further ones, if the peer has said that it takes them.
extension Established {
    /// Asks for the CHILD_SAs that are to stand beside one of ours and do not.
    mutating func queueFurther(beside agreement: ChildNegotiation.Agreement) {
        guard agreement.sharesTraffic, let resource = agreement.tunnel.resource, resource.number == 0 else {
            return
        }
        for tunnel in connection.tunnels
        where tunnel.isFurther && tunnel.configuredName == resource.tunnel && current(of: tunnel.name) == nil
        {
            let task = OwnExchange.Task.createChild(tunnel: tunnel.name)
            guard active?.task != task, !waiting.contains(task), waiting.count < Self.maximumWaiting else {
                continue
            }
            waiting.append(task)
        }
    }

    /// The tunnels that a request for a new CHILD_SA may get; nil when it asks for one more than there may be.
    func tunnels(for payloads: [Payload], path: SelectorEnds) -> [TunnelPolicy]? {
        let first = connection.tunnels.filter { !$0.isFurther }
        guard payloads.notification(.saResourceInfo) != nil,
            let match = ChildNegotiation.match(payloads, first, path: path)
        else { return first }
        let free = connection.tunnels.first {
            $0.configuredName == match.name && current(of: $0.name) == nil
        }
        return free.map { [$0] }
    }

    /// Those tunnels of `names` that do not come up with another one.
    func withoutFurther(_ names: [String]) -> [String] {
        names.filter { name in !connection.tunnels.contains { $0.isFurther && $0.name == name } }
    }
}

extension ChildNegotiation.Agreement {
    /// What a response says beside, so that the peer asks for further ones.
    var resourceInfo: [Payload] { sharesTraffic ? ChildNegotiation.resourceInfo(tunnel) : [] }
}

extension ChildNegotiation {
    /// SA_RESOURCE_INFO for a tunnel that has several CHILD_SAs (RFC 9611 §5.1).
    ///
    /// The identifier is for the reader of a log; the first CHILD_SA, which belongs to no resource alone, has none.
    static func resourceInfo(_ tunnel: TunnelPolicy) -> [Payload] {
        guard let resource = tunnel.resource else { return [] }
        let number = UInt32(clamping: resource.number)
        let identifier = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: number >> UInt32($0)) }
        return [.notify(NotifyPayload(.saResourceInfo, data: resource.number == 0 ? [] : identifier))]
    }
}
