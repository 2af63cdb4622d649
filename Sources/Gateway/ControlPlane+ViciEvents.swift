import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Policy
import Primitives
import Vici

/// What vici clients hear unasked.
extension ControlPlane {
    /// What is known of the CHILD_SAs of `ikes`.
    func details(of ikes: [IKESASnapshot]) -> [UInt32: ChildDetails] {
        var result: [UInt32: ChildDetails] = [:]
        for ike in ikes {
            for child in ike.allChildren {
                result[child.id] = departed[child.id] ?? details(ofChild: child.id)
            }
        }
        return result
    }

    /// What is known of a CHILD_SA that is installed.
    func details(ofChild id: UInt32) -> ChildDetails {
        ChildDetails(
            counters: counters[id] ?? ChildCounters(),
            path: children[id]?.path,
            pathMTU: pathMTUs[id],
            reqid: board.reqid(ofChild: id)
        )
    }

    /// The `ike-updown` event; `cause` says why the IKE_SA ended, nil that it came up.
    func publishIKE(_ ike: IKESASnapshot, downBecause cause: DownCause? = nil) {
        guard let vici, vici.isWanted("ike-updown") else { return }
        var message = Self.upOrDown(cause)
        message.elements +=
            ViciLists.ikeOnly(ike, at: MonotonicClock.now()).elements
        vici.publish(event: "ike-updown", message: message)
    }

    /// The `ike-update` event: where both ends are now.
    func publishMove(_ ike: IKESASnapshot) {
        guard let vici, vici.isWanted("ike-update") else { return }
        var message = ViciMessage()
        message.set("local-host", ike.local.address.description)
        message.set("local-port", ike.local.port)
        message.set("remote-host", ike.remote.address.description)
        message.set("remote-port", ike.remote.port)
        message.elements += ViciLists.ikeOnly(ike, at: MonotonicClock.now()).elements
        vici.publish(event: "ike-update", message: message)
    }

    func publishAlert(_ event: EngineEvent) {
        guard let vici, vici.isWanted("alert"), let alert = ViciAlert(event, at: MonotonicClock.now()) else {
            return
        }
        vici.publish(event: "alert", message: alert.message)
    }

    private static func upOrDown(_ cause: DownCause?) -> ViciMessage {
        ViciMessage { message in
            if let cause { message.set("cause", cause.description) } else { message.set("up", flag: true) }
        }
    }

    /// The `child-updown` event; `cause` says why the CHILD_SA ended, nil that it came up.
    func publishChild(_ ike: IKESASnapshot, _ child: ChildSASnapshot, downBecause cause: DownCause? = nil) {
        guard let vici, vici.isWanted("child-updown") else { return }
        var sa = ike
        sa.children = [child]
        sa.replacedChildren = []
        var message = Self.upOrDown(cause)
        message.elements +=
            ViciLists.listSA(sa, details: details(of: [sa]), at: MonotonicClock.now()).elements
        vici.publish(event: "child-updown", message: message)
    }

    func publishIKERekey(old: IKESASnapshot, new: IKESASnapshot) {
        guard let vici, vici.isWanted("ike-rekey") else { return }
        let message = ViciLists.ikeRekey(old: old, new: new, at: MonotonicClock.now())
        vici.publish(event: "ike-rekey", message: message)
    }

    func publishChildRekey(_ ike: IKESASnapshot, old: ChildSASnapshot, new: ChildSASnapshot) {
        guard let vici, vici.isWanted("child-rekey") else { return }
        var sa = ike
        sa.children = [old, new]
        let message = ViciLists.childRekey(
            ike,
            old: old,
            new: new,
            details: details(of: [sa]),
            at: MonotonicClock.now()
        )
        vici.publish(event: "child-rekey", message: message)
    }
}
