import Cryptography
import DequeModule
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// Moving to other addresses (MOBIKE, RFC 4555 §3.5 to §3.10).
extension Established {
    /// Our address or the way to the peer changed: goes on from `local`.
    mutating func roam(
        to local: IPAddress,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition {
        guard mobility != nil, local.bitWidth == common.remote.address.bitWidth else { return .stay }
        common.local.address = local
        // One that ends needs the path for its last words alone.
        guard closing == nil, active?.task != .deleteIKE else {
            resend(common, &context)
            return .stay
        }
        if successor == nil { changePath(common, &context) }
        resend(common, &context)
        // One that was replaced tells it too: the peer perhaps knows no other yet, and asks at the old address.
        return tellAddresses(common, &context)
    }

    /// What was not told yet is told by an IKE_SA that is replaced, too: the peer may not know the new one.
    var unsentUpdates: Deque<OwnExchange.Task> {
        Deque(waiting.filter { $0 == .updateAddresses || $0 == .announceAddresses })
    }

    /// From where a response goes: from where the request came to, if that is still an address of ours.
    func replySource(_ datagram: IKEDatagram, _ common: SACommon, _ context: EngineContext) -> Endpoint {
        guard mobility != nil, !context.localAddresses.isEmpty,
            !context.localAddresses.contains(datagram.local.address),
            common.local.address.bitWidth == datagram.remote.address.bitWidth
        else { return datagram.local }
        return common.local
    }

    /// What waits for an answer goes by the new path at once; it had no chance on the old one.
    private mutating func resend(_ common: SACommon, _ context: inout EngineContext) {
        guard var request = active?.request else { return }
        request.restart(at: context.now)
        active?.phase = .requested(request)
        context.transmit(request.message, from: common.local, to: common.remote)
        if let probe = active?.probe {
            context.transmit(probe, from: common.local, to: common.remote)
        }
    }

    /// The IKE_SA that has taken over from this one moved while our DELETE, or the peer's, was on the way.
    mutating func follow(_ moved: SACommon, _ common: inout SACommon, _ context: inout EngineContext) {
        guard mobility != nil, (common.local, common.remote) != (moved.local, moved.remote) else { return }
        (common.local, common.remote) = (moved.local, moved.remote)
        resend(common, &context)
    }

    /// The initiator decides on the path; the responder names its addresses, from the one that it now has.
    private mutating func tellAddresses(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard let mobility else { return .stay }
        let task: OwnExchange.Task = mobility.isOriginalInitiator ? .updateAddresses : .announceAddresses
        if active?.task == task { self.mobility?.isOutdated = true }
        guard !waiting.contains(task) else { return .stay }
        waiting.prepend(task)
        return sendNext(common, &context)
    }

    /// The CHILD_SAs follow the IKE_SA.
    private mutating func changePath(_ common: SACommon, _ context: inout EngineContext) {
        mobility?.hasMoved = true
        moveChildren(to: common.remote, common, &context)
        context.report(.ikeMoved(snapshot(common)))
    }

    /// The IKE_SA that this one replaces may have moved after this one was made.
    mutating func takePath(of predecessor: IKESASnapshot, _ common: inout SACommon) {
        guard let mobility, !mobility.hasMoved,
            (common.local, common.remote) != (predecessor.local, predecessor.remote)
        else { return }
        (common.local, common.remote) = (predecessor.local, predecessor.remote)
        nat = predecessor.nat
        if mobility.isOriginalInitiator { plan(.updateAddresses) }
    }

    mutating func moveChildren(
        to remote: Endpoint,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        let path = OuterPath(local: common.local, remote: remote, encapsulation: encapsulation)
        for index in children.indices {
            children[index].snapshot.encapsulation = encapsulation
            context.emit(.move(childID: children[index].id, path: path))
        }
    }

    /// The machine's addresses changed: the peer hears of those that it could use.
    mutating func ownAddressesChanged(_ common: SACommon, _ context: inout EngineContext) -> Transition {
        guard let mobility, closing == nil, successor == nil, !awaitsHandover,
            // One that is about to go on from another address tells the list from there.
            context.localAddresses.contains(common.local.address),
            connection.otherAddresses(common, context) != mobility.announced,
            !isPlanned(.announceAddresses), !isPlanned(.updateAddresses)
        else { return .stay }
        return plan(.announceAddresses, common, &context) ?? .stay
    }

    // MARK: - Requests of ours

    /// What an INFORMATIONAL about addresses holds; nil without MOBIKE.
    mutating func addressPayloads(
        _ task: OwnExchange.Task,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> [Payload]? {
        guard mobility != nil else { return nil }
        var payloads = [Payload]()
        mobility?.isOutdated = false
        mobility?.isProbing = false
        if task == .updateAddresses {
            payloads.append(.notify(NotifyPayload(.updateSAAddresses)))
            payloads += natNotifications(common, &context)
        }
        if task != .checkPath {
            let own = connection.otherAddresses(common, context)
            payloads += Mobility.notifications(own, saysNone: true)
            mobility?.announced = own
            if !nat.isSupported { payloads.append(.notify(Mobility.noNATsAllowed(common))) }
        }
        let cookie = context.entropy.bytes(16)
        mobility?.cookie = cookie
        payloads.append(.notify(NotifyPayload(.cookie2, data: cookie)))
        return payloads
    }

    /// Behind a NAT a liveness check also finds out whether the NAT still maps us as before (§3.8).
    mutating func livenessPayloads(_ common: SACommon, _ context: inout EngineContext) -> [Payload] {
        guard let mobility, mobility.isOriginalInitiator, nat.isLocalBehindNAT else { return [] }
        return natNotifications(common, &context)
    }

    private func natNotifications(_ common: SACommon, _ context: inout EngineContext) -> [Payload] {
        guard nat.isSupported else { return [] }
        let hiding = connection.forcesEncapsulation ? context.entropy.bytes(20) : nil
        let payloads = try? NATDetection.notifications(
            initiatorSPI: common.initiatorSPI,
            responderSPI: common.responderSPI,
            local: common.local,
            remote: common.remote,
            hidingSource: hiding
        )
        return payloads ?? []
    }

    /// The path may be broken: what was repeated in vain also goes by every other one (§3.10).
    mutating func probeOtherPaths(
        _ request: OutstandingRequest,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        guard let mobility, mobility.isOriginalInitiator, request.attempts >= Self.probingBegins else {
            return
        }
        let locals = [common.local.address] + connection.otherAddresses(common, context)
        let remotes = [common.remote.address] + mobility.peerAddresses
        let port =
            common.remote.port == context.configuration.ikePort
            ? common.remote.port : context.configuration.natTraversalPort
        for remote in remotes {
            for local in locals where local.bitWidth == remote.bitWidth {
                guard local != common.local.address || remote != common.remote.address else { continue }
                self.mobility?.isProbing = true
                let target = remote == common.remote.address ? common.remote : Endpoint(remote, port)
                let source = Endpoint(local, common.local.port)
                context.transmit(request.message, from: source, to: target)
            }
        }
    }

    private static let probingBegins = 2

    // MARK: - Responses

    /// What a response, which is authentic, says of the path; a value means that the IKE_SA ends.
    mutating func noteResponse(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> Transition? {
        guard mobility != nil, let task = active?.task, header.exchange == .informational else { return nil }
        if let cookie = mobility?.cookie {
            // §3.7: whoever did not see the request cannot have answered it.
            guard payloads.notification(.cookie2)?.data == cookie else {
                return close(.protocolError("its COOKIE2 is another one"), common, &context)
            }
            mobility?.cookie = nil
        }
        if mobility?.isProbing == true {
            mobility?.isProbing = false
            if datagram.local != common.local || datagram.remote != common.remote, closing == nil {
                (common.local, common.remote) = (datagram.local, datagram.remote)
                changePath(common, &context)
                mobility?.isOutdated = true
                plan(.updateAddresses)
                return nil
            }
        }
        switch task {
        case .updateAddresses: return noteUpdate(payloads, header, datagram, common, &context)
        case .livenessCheck: noteMapping(payloads)
        case .checkPath where mobility?.isOutdated == false:
            // The peer is where it says: its CHILD_SAs follow.
            changePath(common, &context)
        default: break
        }
        return nil
    }

    private mutating func plan(_ task: OwnExchange.Task) {
        if !waiting.contains(task) { waiting.prepend(task) }
    }

    private mutating func noteUpdate(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) -> Transition? {
        guard mobility?.isOutdated == false else { return nil }
        if payloads.notification(.unexpectedNATDetected) != nil {
            mobility?.unexpectedNATs += 1
            guard mobility?.unexpectedNATs ?? 0 <= Mobility.natRetries else {
                let hint = "a NAT is on the new path, and the peer knows no NAT traversal"
                return close(.peerRefused(.unexpectedNATDetected, hint: hint), common, &context)
            }
            plan(.updateAddresses)
            return nil
        }
        mobility?.unexpectedNATs = 0
        if payloads.notification(.unacceptableAddresses) != nil {
            let hint = "it does not take us at \(common.local.address)"
            return close(.peerRefused(.unacceptableAddresses, hint: hint), common, &context)
        }
        noteMapping(payloads)
        noteNAT(payloads, header, datagram, common, &context)
        return nil
    }

    /// The peer's hash of our address; another one than before means that a NAT maps us anew.
    private mutating func noteMapping(_ payloads: [Payload]) {
        guard let hash = payloads.notification(.natDetectionDestinationIP)?.data else { return }
        let before = mobility?.seenHash
        mobility?.seenHash = hash
        if case .livenessCheck = active?.task, let before, before != hash { plan(.updateAddresses) }
    }

    /// A NAT may be on the new path, or none any more.
    private mutating func noteNAT(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: SACommon,
        _ context: inout EngineContext
    ) {
        guard nat.isSupported,
            let found = try? NATDetection(
                of: payloads,
                header: header,
                local: datagram.local,
                remote: datagram.remote
            ), found.isSupported
        else { return }
        let isNeeded = found.isLocalBehindNAT || found.isRemoteBehindNAT || connection.forcesEncapsulation
        let hasChanged = encapsulation != (isNeeded ? .udp : .none)
        nat = found
        encapsulation = isNeeded ? .udp : .none
        if hasChanged { moveChildren(to: common.remote, common, &context) }
    }

    // MARK: - Requests of the peer

    /// What an INFORMATIONAL request of the peer, which is authentic, says of addresses; the answer goes into the response.
    mutating func noteRequest(
        _ payloads: [Payload],
        _ header: IKEHeader,
        _ datagram: IKEDatagram,
        _ common: inout SACommon,
        _ context: inout EngineContext
    ) -> [Payload] {
        guard header.exchange == .informational, let mobility else { return [] }
        var answer = [Payload]()
        if let cookie = payloads.notification(.cookie2), (8...64).contains(cookie.data.count) {
            answer.append(.notify(NotifyPayload(.cookie2, data: cookie.data)))
        }
        let list = Mobility.addresses(in: payloads)
        let updates = payloads.notification(.updateSAAddresses) != nil && !mobility.isOriginalInitiator
        if list != nil || updates, Mobility.findsNAT(payloads, datagram) {
            return answer + [.notify(NotifyPayload(.unexpectedNATDetected))]
        }
        if let list { self.mobility?.peerAddresses = list }
        let isElsewhere = datagram.remote != common.remote || datagram.local != common.local
        if updates {
            let before = common.remote
            self.mobility?.hasMoved = true
            (common.local, common.remote) = (datagram.local, datagram.remote)
            noteNAT(payloads, header, datagram, common, &context)
            if common.remote.address != before.address {
                // §3.7: what it receives there it proves by an answer, before anything else is sent to it.
                if active?.task == .checkPath { self.mobility?.isOutdated = true }
                plan(.checkPath)
            } else if isElsewhere {
                changePath(common, &context)
            }
        } else if list != nil, mobility.isOriginalInitiator, isElsewhere {
            // The responder had to change its address: it is up to us to take up the new one (§3.6).
            (common.local, common.remote) = (datagram.local, datagram.remote)
            changePath(common, &context)
            if active?.task == .updateAddresses { self.mobility?.isOutdated = true }
            plan(.updateAddresses)
        }
        if payloads.notification(.natDetectionSourceIP) != nil {
            var here = common
            (here.local, here.remote) = (datagram.local, datagram.remote)
            answer += natNotifications(here, &context)
        }
        return answer
    }
}
