import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// CREATE_CHILD_SA as responder: rekeys that the peer begins (RFC 7296 §1.3, §2.8, §2.17, §2.18).
@Suite struct CreateChildTests {
    private let oldSPI: [UInt8] = [0xc0, 0xff, 0xee, 1]
    private let newSPI: [UInt8] = [0xc0, 0xff, 0xee, 99]
    private let nonce = [UInt8](repeating: 0x5a, count: 32)

    private func childRequest(
        esp: String = "aes256gcm16",
        rekeying spi: [UInt8]? = [0xc0, 0xff, 0xee, 1],
        keyExchange: KEPayload? = nil,
        local: String = "10.1.0.0/16"
    ) -> [Payload] {
        let offer = proposals([esp], .esp).map { proposal in
            var proposal = proposal
            proposal.spi = newSPI
            return proposal
        }
        let rekey: [Payload] =
            spi.map { [.notify(NotifyPayload(.rekeySA, securityProtocol: .esp, spi: $0))] } ?? []
        let exchange: [Payload] = keyExchange.map { [.keyExchange($0)] } ?? []
        return rekey + [.securityAssociation(SAPayload(offer)), .nonce(nonce)] + exchange + [
            .initiatorSelectors(TSPayload([selector(local)])),
            .responderSelectors(TSPayload([selector("10.2.0.0/16")])),
        ]
    }

    private func ask(_ state: inout EngineInState, _ payloads: [Payload], id: UInt32 = 2) throws -> [Payload]
    {
        let request = try state.puppet.seal(payloads, .createChildSA, id: id)
        let replies = state.lone.receive(request, from: state.puppet.endpoint)
        #expect(replies.count == 1)
        return try state.puppet.open(replies.first.unwrapped)
    }

    private func installed(_ state: EngineInState) throws -> ChildSADescription {
        let all = state.lone.outputs.compactMap { output -> ChildSADescription? in
            guard case .install(let installation) = output else { return nil }
            return installation.description
        }
        return try all.last.unwrapped
    }

    private func expectKeys(
        _ state: EngineInState,
        _ reply: [Payload],
        sharedSecret: SecretKey? = nil
    ) throws {
        let child = try installed(state)
        let keymat = try state.puppet.keys.unwrapped.childKeys(
            prf: state.puppet.suite.prf,
            transform: child.transform,
            initiatorNonce: nonce,
            responderNonce: reply.nonce.unwrapped,
            sharedSecret: sharedSecret
        )
        #expect(child.inboundKeys.encryption == keymat.initiator.encryption)
        #expect(child.outboundKeys.encryption == keymat.responder.encryption)
        #expect(child.outboundSPI.octets == newSPI)
        #expect(try reply.securityAssociation.unwrapped.proposals.first?.spi == child.inboundSPI.octets)
    }

    @Test func rekeysAChildWithoutPFS() throws {
        var state = try EngineInState.establishedResponder()
        let reply = try ask(&state, childRequest())
        try expectKeys(state, reply)
        #expect(state.lone.engine.snapshots.first?.children.map { $0.outboundSPI.octets } == [newSPI])
        let old = DeletePayload.esp([try SPI(octets: oldSPI).unwrapped])
        let delete = try state.puppet.seal([.delete(old)], .informational, id: 3)
        state.lone.receive(delete, from: state.puppet.endpoint)
        #expect(state.lone.engine.snapshots.first?.children.map { $0.outboundSPI.octets } == [newSPI])
        // Nothing came by the new one yet: the old one sent until it was deleted, and receives for a moment longer.
        let switches = state.lone.outputs.filter { if case .useForSending = $0 { true } else { false } }
        #expect(switches.count == 1)
        #expect(state.lone.removals == 0)
        state.lone.now = state.lone.now.advanced(by: .seconds(5))
        state.lone.handle(.timeout)
        #expect(state.lone.removals == 1)
    }

    @Test func rekeysAChildWithPFSAlthoughThePolicyNamesNone() throws {
        var state = try EngineInState.establishedResponder()
        let pair = try KeyExchangeKeyPair(group: .ecp256)
        let mine = KEPayload(group: 19, data: pair.publicValue)
        let reply = try ask(&state, childRequest(esp: "aes256gcm16-ecp256", keyExchange: mine))
        let theirs = try reply.keyExchange.unwrapped
        #expect(theirs.group == 19)
        try expectKeys(state, reply, sharedSecret: pair.sharedSecret(with: theirs.data))
    }

    @Test func asksForTheChosenGroup() throws {
        var state = try EngineInState.establishedResponder()
        let wrong = KEPayload(group: 31, data: [UInt8](repeating: 9, count: 32))
        let reply = try ask(&state, childRequest(esp: "aes256gcm16-ecp256", keyExchange: wrong))
        #expect(reply.notification(.invalidKEPayload)?.data == [0, 19])
        #expect(state.lone.installs == 0)
    }

    @Test func refusesAPublicValueThatIsNoPoint() throws {
        var state = try EngineInState.establishedResponder()
        let weak = KEPayload(group: 19, data: [UInt8](repeating: 1, count: 64))
        let reply = try ask(&state, childRequest(esp: "aes256gcm16-ecp256", keyExchange: weak))
        #expect(reply.errorNotification != nil)
        #expect(state.lone.installs == 0 && state.lone.engine.snapshots.first?.children.count == 1)
    }

    @Test func namesAChildThatItDoesNotHave() throws {
        var state = try EngineInState.establishedResponder()
        let reply = try ask(&state, childRequest(rekeying: [9, 9, 9, 9]))
        let notify = try reply.notification(.childSANotFound).unwrapped
        #expect(notify.spi == [9, 9, 9, 9] && notify.securityProtocol == .esp)
        #expect(state.lone.installs == 0)
    }

    @Test func keepsTheOldChildWhenARekeyIsRefused() throws {
        var state = try EngineInState.establishedResponder()
        let proposal = try ask(&state, childRequest(esp: "aes128-sha1"))
        #expect(proposal.notification(.noProposalChosen) != nil)
        let traffic = try ask(&state, childRequest(local: "10.9.0.0/16"), id: 3)
        #expect(traffic.notification(.tsUnacceptable) != nil)
        #expect(state.lone.engine.snapshots.first?.children.count == 1)
        #expect(state.lone.removals == 0)
    }

    @Test func makesNothingNewWhileItIsBeingDeleted() throws {
        var state = try EngineInState.establishedResponder()
        let id = try state.lone.engine.snapshots.first.unwrapped.id
        state.lone.handle(.terminateIKE(id: id, cause: .localRequest))
        let reply = try ask(&state, childRequest(rekeying: nil))
        #expect(reply.notification(.temporaryFailure) != nil)
    }

    @Test func nothingOutlivesAnIKESAThatIsDeletedMeanwhile() throws {
        var state = try EngineInState.establishedResponder()
        let pair = try KeyExchangeKeyPair(group: .x25519)
        state.lone.holdsJobs = true
        var offer = state.puppet.suite.proposal
        offer.spi = [0xab, 0, 0, 0, 0, 0, 0, 1]
        let payloads: [Payload] = [
            .securityAssociation(SAPayload([offer])), .nonce(nonce),
            .keyExchange(KEPayload(group: 31, data: pair.publicValue)),
        ]
        let request = try state.puppet.seal(payloads, .createChildSA, id: 2)
        state.lone.receive(request, from: state.puppet.endpoint)
        let id = try state.lone.engine.snapshots.first.unwrapped.id
        state.lone.handle(.terminateIKE(id: id, cause: .localRequest))
        let reply = try state.puppet.open(state.lone.release().first.unwrapped)
        #expect(reply.notification(.temporaryFailure) != nil)
        #expect(state.lone.engine.snapshots.map { $0.state } == [.deleting])
    }

    @Test func answersOnceTheKeyExchangeIsDone() throws {
        var state = try EngineInState.establishedResponder()
        let pair = try KeyExchangeKeyPair(group: .x25519)
        let mine = KEPayload(group: 31, data: pair.publicValue)
        state.lone.holdsJobs = true
        let payloads = childRequest(esp: "aes256gcm16-x25519", keyExchange: mine)
        let request = try state.puppet.seal(payloads, .createChildSA, id: 2)
        #expect(state.lone.receive(request, from: state.puppet.endpoint).isEmpty)
        #expect(state.lone.receive(request, from: state.puppet.endpoint).isEmpty)
        let reply = state.lone.release()
        #expect(reply.count == 1)
        // A retransmission gets the same response.
        #expect(state.lone.receive(request, from: state.puppet.endpoint) == reply)
        #expect(state.lone.installs == 1)
    }

    @Test func theSuccessorOfAnIKESAInheritsItsChildren() throws {
        var state = try EngineInState.establishedResponder()
        let pair = try KeyExchangeKeyPair(group: .x25519)
        let newSPI = try IKESPI(0xabcd_0000_0000_0001).unwrapped
        var offer = state.puppet.suite.proposal
        offer.spi = newSPI.octets
        let reply = try ask(
            &state,
            [
                .securityAssociation(SAPayload([offer])), .nonce(nonce),
                .keyExchange(KEPayload(group: 31, data: pair.publicValue)),
            ]
        )
        let answer = try reply.securityAssociation.unwrapped.proposals.first.unwrapped
        let theirs = try IKESPI(answer.spi.reduce(0) { $0 << 8 | UInt64($1) }).unwrapped
        let suite = state.puppet.suite
        let keys = try IKEKeys(
            rekeying: state.puppet.keys.unwrapped,
            oldPRF: suite.prf,
            suite: suite,
            sharedSecret: pair.sharedSecret(with: reply.keyExchange.unwrapped.data),
            initiatorNonce: nonce,
            responderNonce: reply.nonce.unwrapped,
            initiatorSPI: newSPI,
            responderSPI: theirs
        )
        let delete = try state.puppet.seal([.delete(.ike)], .informational, id: 3)
        state.lone.receive(delete, from: state.puppet.endpoint)
        #expect(state.lone.engine.snapshots.count == 1)
        #expect(state.lone.engine.snapshots.first?.initiatorSPI == newSPI.value)
        #expect(state.lone.engine.snapshots.first?.children.count == 1)
        #expect(state.lone.removals == 0 && state.lone.installs == 0)
        // The new one answers from message ID 0 with the new keys.
        let header = IKEHeader(
            initiatorSPI: newSPI.value,
            responderSPI: theirs.value,
            exchange: .informational,
            isFromInitiator: true,
            isResponse: false,
            messageID: 0
        )
        let check = try IKEMessage(header: header, payloads: []).sealed(
            with: keys.initiatorCipher,
            transform: suite.cipher,
            iv: [UInt8](repeating: 1, count: suite.cipher.ivLength)
        )
        #expect(state.lone.receive(check, from: state.puppet.endpoint).count == 1)
    }
}
