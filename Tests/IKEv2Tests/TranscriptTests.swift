import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// The engine tells of each message that it sends and takes, and what is inside.
@Suite struct TranscriptTests {
    private func titles(_ pair: EnginePair, _ side: Side) -> [String] {
        pair[side].messages.map { "\($0.isOutgoing ? ">" : "<") \($0.title)\($0.isRepeated ? " again" : "")" }
    }

    @Test func tellsASetupOnBothSides() throws {
        var pair = EnginePair()
        for side in Side.allCases { pair.handle(.setPolicies([PolicyFixture(side).policy]), at: side) }
        pair.initiate()
        pair.run(for: .seconds(5))
        #expect(
            titles(pair, .initiator) == [
                "> IKE_SA_INIT request 0", "< IKE_SA_INIT response 0", "> IKE_AUTH request 1",
                "< IKE_AUTH response 1",
            ]
        )
        #expect(
            titles(pair, .responder) == [
                "< IKE_SA_INIT request 0", "> IKE_SA_INIT response 0", "< IKE_AUTH request 1",
                "> IKE_AUTH response 1",
            ]
        )
        let records = pair[.initiator].messages
        #expect(records.allSatisfy { $0.ikeID == pair[.initiator].established.first?.id })
        #expect(records.allSatisfy { $0.connection == pair[.initiator].established.first?.connection })
        #expect(records[0].contents.hasPrefix("SA(IKE:") && records[0].contents.contains("KE("))
        #expect(records[2].contents.contains("IDi(") && records[2].contents.contains("AUTH(PSK)"))
        #expect(records[3].contents.contains("TSr("))
        // The octets are those of the wire: nothing decrypted.
        #expect(records[2].datagrams.first.map { (try? ReceivedMessage.header(of: $0))?.nextPayload } == 46)
        // No secret, nonce or proof is told.
        for record in records {
            for case .nonce(let nonce) in record.payloads {
                #expect(!record.contents.contains(Hex.encode(nonce)))
            }
        }
    }

    @Test func tellsWhatIsSentAgainAndWhyItFailed() throws {
        var pair = EnginePair()
        pair.handle(.setPolicies([PolicyFixture(.initiator).policy]), at: .initiator)
        pair.intercept = { _ in [] }
        pair.initiate()
        pair.run(for: .seconds(120))
        let told = titles(pair, .initiator)
        #expect(told.first == "> IKE_SA_INIT request 0")
        #expect(told.dropFirst().allSatisfy { $0 == "> IKE_SA_INIT request 0 again" } && told.count > 3)
        let failure = pair[.initiator].events.compactMap { event -> AttemptFailure? in
            if case .attemptFailed(let failure) = event { failure } else { nil }
        }.first
        #expect(failure?.ikeID != nil && failure?.ikeID == pair[.initiator].messages.first?.ikeID)
    }

    @Test func tellsWhatAStrangerIsAnswered() throws {
        var pair = EnginePair()
        pair.handle(.setPolicies([]), at: .responder)
        pair.initiate()
        pair.run(for: .seconds(2))
        let records = pair[.responder].messages
        #expect(records.count >= 2 && records.allSatisfy { $0.ikeID == nil && $0.connection == nil })
        #expect(records.last?.contents == "N(NO_PROPOSAL_CHOSEN)")
    }

    @Test func listsWhatIsUnderWayByStrongSwansNames() throws {
        var pair = EnginePair()
        for side in Side.allCases { pair.handle(.setPolicies([PolicyFixture(side).policy]), at: side) }
        pair.initiate()
        pair.run(for: .seconds(5))
        let before = try #require(pair[.initiator].established.first)
        #expect(before.children.map { $0.state } == [.installed] && before.activeTasks.isEmpty)
        pair.handle(.rekeyChild(id: before.children[0].id), at: .initiator)
        pair.handle(.rekeyIKE(id: before.id), at: .initiator)
        let during = try #require(pair[.initiator].established.first)
        #expect(during.children.map { $0.state } == [.rekeying])
        #expect(during.activeTasks == ["CHILD_REKEY"] && during.queuedTasks == ["IKE_REKEY"])
        pair.run(for: .seconds(20))
        let after = try #require(pair[.initiator].established.first)
        #expect(after.children.map { $0.state } == [.installed] && after.replacedChildren.isEmpty)
    }
}
