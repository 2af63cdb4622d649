import IKECore
import IKEv2
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
            for child in ike.children {
                result[child.id] = ChildDetails(
                    counters: counters[child.id] ?? ChildCounters(),
                    path: children[child.id]?.path,
                    pathMTU: pathMTUs[child.id],
                    tunnelID: tunnelIDs[TunnelKey(connection: ike.connection, tunnel: child.tunnel)]
                )
            }
        }
        return result
    }

    func publishIKE(_ ike: IKESASnapshot, isUp: Bool) {
        guard let vici, vici.isWanted("ike-updown") else { return }
        var message = ViciMessage()
        if isUp { message.set("up", flag: true) }
        message.elements +=
            ViciLists.listSA(ike, details: details(of: [ike]), at: MonotonicClock.now()).elements
        vici.publish(event: "ike-updown", message: message)
    }

    func publishChild(_ ike: IKESASnapshot, _ child: ChildSASnapshot, isUp: Bool) {
        guard let vici, vici.isWanted("child-updown") else { return }
        var sa = ike
        sa.children = [child]
        var message = ViciMessage()
        if isUp { message.set("up", flag: true) }
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

/// Rekeys at a user's wish.
extension ControlPlane {
    func rekey(_ request: ViciRequest) {
        let message = request.message
        let (ikeName, childName) = (message.string("ike"), message.string("child"))
        let ikeID = message.number("ike-id", as: UInt32.self)
        let childID = message.number("child-id", as: UInt32.self)
        guard ikeName != nil || childName != nil || ikeID != nil || childID != nil else {
            request.reply(.failure("rekey needs 'ike', 'child', 'ike-id' or 'child-id'"))
            return
        }
        var inputs: [EngineInput] = []
        for ike in engine.snapshots where (ikeName ?? ike.connection) == ike.connection {
            guard ike.state == .established, (ikeID ?? ike.id) == ike.id else { continue }
            if childName == nil, childID == nil {
                inputs.append(.rekeyIKE(id: ike.id))
                continue
            }
            for child in ike.children
            where (childName ?? child.tunnel) == child.tunnel && (childID ?? child.id) == child.id {
                inputs.append(.rekeyChild(id: child.id))
            }
        }
        guard !inputs.isEmpty else {
            request.reply(.failure("no matching SAs to rekey found"))
            return
        }
        let now = MonotonicClock.now()
        for input in inputs { engine.handle(input, at: now) }
        request.reply(
            ViciMessage { answer in
                answer.set("success", flag: true)
                answer.set("matches", inputs.count)
            }
        )
        settle()
    }
}
