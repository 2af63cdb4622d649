import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing
import Vici

@testable import Gateway

/// What was said with peers, and that it stays within its bounds.
@Suite struct TranscriptStoreTests {
    private static let local = Endpoint(IPAddress.v4(IPv4Address(0xc000_0201)), 500)
    private static let remote = Endpoint(IPAddress.v4(IPv4Address(0xc000_0202)), 500)

    private static func record(
        _ ikeID: UInt32?,
        _ connection: String? = "branch",
        isOutgoing: Bool = true,
        exchange: ExchangeType = .ikeSAInit,
        isResponse: Bool = false,
        messageID: UInt32 = 0,
        payloads: [Payload] = [.nonce([1])],
        remote: Endpoint = Self.remote
    ) -> MessageRecord {
        let header = IKEHeader(
            initiatorSPI: 1,
            responderSPI: 0,
            exchange: exchange,
            isFromInitiator: isOutgoing != isResponse || !isOutgoing == isResponse,
            isResponse: isResponse,
            messageID: messageID
        )
        return MessageRecord(
            ikeID: ikeID,
            connection: connection,
            isOutgoing: isOutgoing,
            local: local,
            remote: remote,
            header: header,
            payloads: payloads,
            datagrams: [[UInt8](repeating: 0, count: 100)]
        )
    }

    private static func ike(_ id: UInt32, _ connection: String = "branch") -> IKESASnapshot {
        IKESASnapshot(
            id: id,
            connection: connection,
            state: .established,
            isInitiator: true,
            initiatorSPI: 1,
            responderSPI: 2,
            local: local,
            remote: remote
        )
    }

    private static func at(_ seconds: Int64) -> Instant { Instant.zero.advanced(by: .seconds(seconds)) }

    @Test func tellsAnAttemptMessageByMessage() throws {
        var store = TranscriptStore()
        store.note(Self.record(7), at: Self.at(0), wallClock: 1000)
        store.note(Self.record(7, isOutgoing: false, isResponse: true), at: Self.at(1), wallClock: 1001)
        let failure = AttemptFailure(
            ikeID: 7,
            connection: "branch",
            tunnel: "net",
            isInitiator: true,
            remote: Self.remote,
            cause: .peerRefused(.authenticationFailed, hint: "look at gateway.yaml:12")
        )
        store.note(.attemptFailed(failure), "attempt failed", at: Self.at(2), wallClock: 1002)
        let found = try #require(store.conversations(of: "branch").first)
        #expect(found.lines.map { $0.kind } == [.sent, .received, .event])
        #expect(found.lines.map { $0.text } == ["Ni", "Nr", "attempt failed"])
        #expect(found.outcome == .failed && found.failure?.reason == "peer-AUTHENTICATION_FAILED")
        let message = ViciLists.conversation(found)
        #expect(message.string("started") == "1000" && message.string("outcome") == "failed")
        #expect(message.string("cause")?.contains("gateway.yaml:12") == true)
        #expect(message.section("lines")?.section("2")?.string("at") == "1000")
    }

    @Test func repeatedMessagesAndLivenessChecksAreOneLineEach() throws {
        var store = TranscriptStore()
        store.note(Self.record(1), at: Self.at(0), wallClock: 0)
        for second in 1...3 {
            var again = Self.record(1)
            again.isRepeated = true
            store.note(again, at: Self.at(Int64(second)), wallClock: 0)
        }
        store.note(.ikeUp(Self.ike(1)), "up", at: Self.at(4), wallClock: 0)
        for number in 0..<1_000 {
            for isOutgoing in [true, false] {
                let check = Self.record(
                    1,
                    isOutgoing: isOutgoing,
                    exchange: .informational,
                    isResponse: !isOutgoing,
                    messageID: UInt32(number),
                    payloads: []
                )
                store.note(check, at: Self.at(Int64(5 + number)), wallClock: 0)
            }
        }
        let found = try #require(store.conversations(of: "branch").first)
        #expect(found.lines.count == 4 && found.dropped == 0)
        #expect(found.lines[0].count == 4 && found.lines[0].repetitions == 3)
        #expect(found.lines[2].count == 1_000 && found.lines[3].lastAt == Self.at(1_004))
    }

    /// Years of rekeys push each other out, never what set the IKE_SA up.
    @Test func whatSetUpALivingIKESAStays() throws {
        var store = TranscriptStore()
        for index in 0..<4 {
            store.note(Self.record(1, messageID: UInt32(index)), at: Self.at(0), wallClock: 0)
        }
        store.note(.ikeUp(Self.ike(1)), "it is up", at: Self.at(1), wallClock: 0)
        for number in 0..<10_000 {
            let rekey = Self.record(1, exchange: .createChildSA, messageID: UInt32(number + 2))
            store.note(rekey, at: Self.at(Int64(number)), wallClock: 0)
            #expect(store.octets <= TranscriptStore.connectionOctets)
        }
        let found = try #require(store.conversations(of: "branch").first)
        #expect(found.lines.prefix(5).map { $0.title.isEmpty ? $0.text : $0.title }.last == "it is up")
        #expect(found.lines.last?.title == "CREATE_CHILD_SA request 10001")
        #expect(found.dropped > 9_000)
    }

    @Test func everyConnectionHasItsShareAndAllTogetherTheirBound() {
        var store = TranscriptStore()
        let names = (0..<20_000).map { "c\($0)" }
        store.keep(Set(names))
        #expect(store.share == TranscriptStore.totalOctets / 20_000)
        for (index, name) in names.enumerated() {
            for attempt in 0..<20 {
                let id = UInt32(index * 20 + attempt + 1)
                store.note(Self.record(id, name), at: Self.at(0), wallClock: 0)
                store.note(
                    .ikeDown(Self.ike(id, name), cause: .peerDeleted),
                    "down",
                    at: Self.at(1),
                    wallClock: 0
                )
            }
        }
        #expect(store.octets <= TranscriptStore.totalOctets)
        #expect(store.conversations(of: "c19999").count > 1)
        store.keep(["c0"])
        #expect(store.octets <= TranscriptStore.connectionOctets && store.conversations(of: "c1").isEmpty)
    }

    /// A flood of requests from everywhere fills its own shelf alone.
    @Test func strangersPushNobodyElseOut() {
        var store = TranscriptStore()
        store.note(Self.record(1), at: Self.at(0), wallClock: 0)
        for number in 0..<50_000 {
            let remote = Endpoint(IPAddress.v4(IPv4Address(0x0a00_0000 + UInt32(number))), 500)
            let id: UInt32? = number.isMultiple(of: 2) ? nil : UInt32(number + 10)
            store.note(
                Self.record(id, nil, isOutgoing: false, remote: remote),
                at: Self.at(1),
                wallClock: 0
            )
        }
        #expect(store.octets <= TranscriptStore.strangerOctets + TranscriptStore.connectionOctets)
        #expect(store.conversations(of: "branch").count == 1)
        #expect(store.conversations(with: .v4(IPv4Address(0x0a00_0000 + 49_999))).count == 1)
    }

    /// What a flood is answered by says nothing of anybody, and pushes out no stranger's failure.
    @Test func demandsForCookiesAreLeftOut() {
        var store = TranscriptStore()
        store.note(Self.record(nil, nil, isOutgoing: false), at: Self.at(0), wallClock: 0)
        let demand = [Payload.notify(NotifyPayload(.cookie, data: [1]))]
        for number in 0..<20_000 {
            let remote = Endpoint(IPAddress.v4(IPv4Address(0x0a00_0000 + UInt32(number))), 500)
            let record = Self.record(nil, nil, isResponse: true, payloads: demand, remote: remote)
            store.note(record, at: Self.at(1), wallClock: 0)
        }
        #expect(store.strangerConversations.map { $0.remote } == [Self.remote])
        // Of one that we return it is told that it was asked for.
        store.note(Self.record(5, payloads: demand), at: Self.at(2), wallClock: 0)
        #expect(store.conversations(of: "branch").count == 1)
    }

    @Test func aStrangerBecomesAConnectionsPeer() {
        var store = TranscriptStore()
        store.note(Self.record(3, nil, isOutgoing: false), at: Self.at(0), wallClock: 0)
        #expect(store.strangerConversations.count == 1)
        store.note(.ikeUp(Self.ike(3)), "up", at: Self.at(1), wallClock: 0)
        #expect(store.strangerConversations.isEmpty)
        #expect(store.conversations(of: "branch").first?.lines.count == 2)
        #expect(store.octets > 0)
    }

    /// A peer chooses what its message holds, not how much memory that takes here.
    @Test func oneLineIsBounded() throws {
        let selectors = (0..<255).map { index in
            TrafficSelector(
                IPPrefix.covering(
                    .v4(IPv4Address(UInt32(index) << 8)),
                    .v4(IPv4Address(UInt32(index) << 8))
                )[0]
            )
        }
        let names = [Payload](
            repeating: .initiatorID(IDPayload(type: 2, data: [UInt8](repeating: 0x61, count: 60_000))),
            count: 20
        )
        let record = Self.record(1, payloads: names + [.initiatorSelectors(TSPayload(selectors))])
        #expect(record.contents.utf8.count < 1_100)
        var store = TranscriptStore()
        store.note(record, at: Self.at(0), wallClock: 0)
        #expect(store.octets < 1_500)
    }
}
