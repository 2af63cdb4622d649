import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Logging
import Policy
import Primitives
import Testing
import Vici

@testable import Gateway

/// Answers and events beside the lists of SAs and connections, in strongSwan's shapes.
@Suite struct ViciShapesTests {
    private func ike(_ id: UInt32, connection: String = "branch", isFake: Bool = false) throws
        -> IKESASnapshot
    {
        let end = Endpoint(try #require(IPAddress("192.0.2.1")), 4500)
        var ike = IKESASnapshot(
            id: id,
            connection: connection,
            state: .established,
            isInitiator: true,
            initiatorSPI: 1,
            responderSPI: 2,
            local: end,
            remote: end
        )
        ike.forcesEncapsulation = isFake
        return ike
    }

    // MARK: - get-counters

    @Test func countersAreAllThereInOrder() throws {
        var counters = IKECounters()
        counters.count(.initOutRequest, of: "branch")
        counters.count(.invalid, of: nil)
        let sum = ViciLists.counters(counters, name: nil, all: false)
        let section = try #require(sum.section("counters")?.sections.first)
        #expect(section.name == "")
        #expect(section.message.elements.map { $0.name } == IKECounter.allCases.map { $0.rawValue })
        #expect(section.message.string("ike-init-out-req") == "1" && section.message.string("invalid") == "1")
        #expect(sum.flag("success") == true)
        let one = ViciLists.counters(counters, name: "branch", all: false)
        #expect(one.section("counters")?.section("branch")?.string("invalid") == "0")
        #expect(
            ViciLists.counters(counters, name: nil, all: true).section("counters")?.sections.map { $0.name }
                == ["branch"]
        )
        let none = ViciLists.counters(counters, name: "other", all: false)
        #expect(none.string("errmsg") == "no counters found for this connection")
    }

    @Test func countersAreSetBackByConnectionOrTogether() {
        var counters = IKECounters()
        for name in ["a", "b"] { counters.count(.childRekey, of: name) }
        counters.reset("a")
        #expect(counters.byConnection["a"] == nil && counters.total[.childRekey] == 2)
        counters.reset(nil)
        #expect(counters.total.isEmpty && counters.byConnection["b"] != nil)
        counters.keep { $0 != "b" }
        #expect(counters.byConnection.isEmpty)
    }

    @Test(
        arguments: [
            (34, 0x08, true, IKECounter.initOutRequest), (34, 0x20, false, .initInResponse),
            (35, 0x20, true, .authOutResponse), (36, 0x00, false, .createChildInRequest),
            (37, 0x28, true, .infoOutResponse), (40, 0, true, nil),
        ] as [(UInt8, UInt8, Bool, IKECounter?)]
    )
    func aMessageIsCountedByItsHeader(
        _ exchange: UInt8,
        _ flags: UInt8,
        _ isOutgoing: Bool,
        _ counter: IKECounter?
    ) {
        var octets = [UInt8](repeating: 0, count: 28)
        octets[18] = exchange
        octets[19] = flags
        #expect(IKECounter(message: octets, isOutgoing: isOutgoing) == counter)
        #expect(IKECounter(message: Array(octets.prefix(27)), isOutgoing: isOutgoing) == nil)
    }

    // MARK: - get-algorithms

    @Test func algorithmsAreThoseThatWeCarryOut() throws {
        let kinds = ViciLists.algorithms.sections.map { $0.name }
        #expect(
            kinds == [
                "encryption", "integrity", "aead", "hasher", "prf", "xof", "kdf", "drbg", "dh", "rng",
                "nonce-gen",
            ]
        )
        let names = ViciLists.algorithms.sections.flatMap { $0.message.elements.map { $0.name } }
        let supported = AlgorithmTable.entries.filter {
            $0.isSupported && $0.type != .esn && $0.name != "MODP_NONE"
        }
        for entry in supported { #expect(names.contains(entry.name), "\(entry.name)") }
        for entry in AlgorithmTable.entries where !entry.isSupported { #expect(!names.contains(entry.name)) }
        let aead = try #require(ViciLists.algorithms.section("aead"))
        #expect(aead.string("AES_GCM_16") != nil && aead.string("AES_CBC") == nil)
    }

    // MARK: - Events

    @Test func aPretendedNATIsTold() throws {
        let sa = try #require(ViciLists.ikeOnly(try ike(1, isFake: true), at: .zero).section("branch"))
        #expect(sa.flag("nat-fake") == true && sa.flag("nat-any") == true && sa["nat-local"] == nil)
        let plain = try #require(ViciLists.ikeOnly(try ike(1), at: .zero).section("branch"))
        #expect(plain["nat-any"] == nil)
    }

    @Test func alertsHaveStrongSwansNames() throws {
        let refused = EngineEvent.attemptFailed(
            AttemptFailure(
                connection: "branch",
                tunnel: "net",
                isInitiator: true,
                remote: Endpoint(try #require(IPAddress("192.0.2.9")), 500),
                cause: .authenticationFailed("another key")
            )
        )
        let alert = try #require(ViciAlert(refused, at: .zero)).message
        #expect(alert.elements.map { $0.name } == ["type", "ike-sa", "cause"])
        #expect(alert.string("type") == "peer-auth-failed")
        #expect(alert.section("ike-sa")?.section("branch")?.string("remote-host") == "192.0.2.9")
        let failed = EngineEvent.childFailed(
            try ike(3),
            tunnel: "net",
            cause: .peerRefused(.noProposalChosen, hint: "")
        )
        let child = try #require(ViciAlert(failed, at: .zero)).message
        #expect(child.string("type") == "proposal-mismatch-child")
        #expect(child.section("ike-sa")?.section("branch")?.string("uniqueid") == "3")
        #expect(ViciAlert(.ikeUp(try ike(1)), at: .zero) == nil)
        #expect(ViciAlert(.ikeDown(try ike(1), cause: .localRequest), at: .zero) == nil)
    }

    @Test func aLogLineSaysWhichIKESAItIsAbout() {
        let pairs: Logger.Metadata = ["event": "child-up", "connection": "branch", "ike": "7"]
        let message = LogFeed.message(.notice, "it is up", pairs)
        #expect(
            message.elements.map { $0.name } == [
                "group", "level", "thread", "ikesa-name", "ikesa-uniqueid", "msg",
            ]
        )
        #expect(message.string("group") == "CHD" && message.string("level") == "1")
        #expect(message.string("msg") == "it is up")
        #expect(LogFeed.message(.debug, "x", ["connection": "-"])["ikesa-name"] == nil)
    }

    @Test func terminateSaysHowManyItFoundAndEnded() {
        let done = ViciMessage.terminated(2, of: 2)
        #expect(done.elements.map { $0.name } == ["success", "matches", "terminated"])
        #expect(ViciMessage.terminated(0, of: 1).string("errmsg") == "terminating SA failed")
        #expect(
            ViciMessage.terminated(1, of: 3).string("errmsg") == "not all matching SAs could be terminated"
        )
        let none = ViciMessage.terminated(0, of: 0)
        #expect(
            none.string("errmsg") == "no matching SAs to terminate found" && none.flag("success") == false
        )
    }

    // MARK: - The board

    @Test func theBoardFindsByNameAndNumberAndForgets() throws {
        let board = StatusBoard()
        board.update([(2, try ike(2)), (1, try ike(1)), (3, try ike(3, connection: "other"))])
        #expect(board.listed().map { $0.snapshot.id } == [1, 2, 3])
        #expect(board.listed(connection: "branch").map { $0.snapshot.id } == [1, 2])
        #expect(board.listed(connection: "other", id: 3).count == 1)
        #expect(board.listed(connection: "branch", id: 3).isEmpty)
        // A responder learns its connection later.
        board.update([(3, try ike(3, connection: "branch")), (1, nil)])
        #expect(board.listed(connection: "other").isEmpty)
        #expect(board.listed(connection: "branch").map { $0.snapshot.id } == [2, 3])
        board.update([(2, nil), (3, nil)])
        #expect(board.listed().isEmpty && board.listed(connection: "branch").isEmpty)
    }

    @Test func anEventIsMadeOncePerSecondAndAgainAfterAChange() throws {
        let listed = ListedSA(try ike(1))
        var made = 0
        func event(_ second: Int64, _ details: [ChildDetails] = []) {
            _ = listed.event(details, second: second) {
                made += 1
                return []
            }
        }
        event(1)
        event(1)
        #expect(made == 1)
        event(2)
        #expect(made == 2)
        event(2, [ChildDetails(pathMTU: 1400)])
        #expect(made == 3)
    }
}
