import IKECore
import IKEv2
import Logging
import Policy
import Primitives

/// CHILD_SAs that carry nothing for as long as their policy allows are deleted.
extension ControlPlane {
    func noteInactivity(_ ike: IKESASnapshot, _ child: ChildSASnapshot) {
        guard let limit = policy(of: ike, child)?.1.inactivity else { return }
        inactivityLimits[child.id] = limit
    }

    /// Deletes those whose time is over; looked at with the counters, once a second.
    func endInactive(at now: Instant) {
        for (id, limit) in inactivityLimits {
            guard let child = children[id] else {
                inactivityLimits[id] = nil
                continue
            }
            let last = max(
                child.installedAt,
                counters[id]?.lastIn ?? child.installedAt,
                counters[id]?.lastOut ?? child.installedAt
            )
            guard last.advanced(by: limit) <= now else { continue }
            inactivityLimits[id] = nil
            logger.info(
                "\(child.key): deleting CHILD_SA after \(limit.components.seconds) seconds of inactivity"
            )
            engine.handle(
                .terminateChild(id: id, cause: .inactive(seconds: limit.components.seconds)),
                at: now
            )
        }
    }
}
