import IPPackets
import LinuxIO
import Primitives
import Testing

@testable import Gateway

private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

private func second(_ count: Int) -> Instant { Instant.zero.advanced(by: .seconds(count)) }

@Suite struct PeerNamesTests {
    private func names(_ list: String...) -> PeerNames {
        var names = PeerNames()
        names.setNames(list)
        return names
    }

    @Test func asksAtTheStartAndEachNameOnce() {
        var names = names("b.example", "a.example")
        #expect(names.takeDue(at: .zero, isDown: { _ in true }) == ["a.example", "b.example"])
        #expect(names.takeDue(at: second(1), isDown: { _ in true }).isEmpty)
    }

    @Test(arguments: [(true, 60), (false, 300)])
    func asksAgainSoonerWhileDown(_ isDown: Bool, _ interval: Int) throws {
        var names = names("a.example")
        _ = names.takeDue(at: .zero, isDown: { _ in isDown })
        _ = names.answered("a.example", .success([try address("192.0.2.1")]), at: .zero)
        #expect(names.takeDue(at: second(interval - 1), isDown: { _ in isDown }).isEmpty)
        #expect(names.takeDue(at: second(interval), isDown: { _ in isDown }) == ["a.example"])
    }

    @Test func anAttemptWaitsForAnAnswerThatIsTooOld() throws {
        var names = names("a.example")
        #expect(names.wantsFresh(["a.example"], at: .zero) == true, "nothing was ever answered")
        _ = names.takeDue(at: .zero, isDown: { _ in true })
        #expect(names.isSettling(["a.example"]))
        _ = names.answered("a.example", .success([try address("192.0.2.1")]), at: second(1))
        #expect(!names.isSettling(["a.example"]))
        let early = names.wantsFresh(["a.example"], at: second(31))
        let late = names.wantsFresh(["a.example"], at: second(32))
        #expect(!early && late)
        #expect(names.takeDue(at: second(32), isDown: { _ in false }) == ["a.example"])
        let (none, unknown) = (
            names.wantsFresh([], at: second(100)), names.wantsFresh(["b"], at: second(100))
        )
        #expect(!none && !unknown)
    }

    @Test func tellsWhetherAddressesChangedNotTheirOrder() throws {
        var names = names("a.example")
        let (one, two) = (try address("192.0.2.1"), try address("2001:db8::1"))
        #expect(
            names.answered("a.example", .success([one, two]), at: .zero)
                == .addresses(old: [], new: [one, two])
        )
        #expect(names.answered("a.example", .success([two, one]), at: .zero) == .none)
        #expect(names.answers == ["a.example": [two, one]])
        #expect(
            names.answered("a.example", .success([two]), at: .zero)
                == .addresses(old: [two, one], new: [two])
        )
        #expect(names.answered("gone.example", .success([two]), at: .zero) == .none)
    }

    @Test func aFailureKeepsTheLastAddresses() throws {
        var names = names("a.example")
        let one = try address("192.0.2.1")
        _ = names.answered("a.example", .success([one]), at: .zero)
        let failed = names.answered("a.example", .failure(NameLookupError("no such name")), at: second(60))
        #expect(failed == .failure("no such name"))
        #expect(names.answers == ["a.example": [one]])
        #expect(names.answered("a.example", .success([]), at: second(61)) == .failure("it has no addresses"))
        // An attempt need not wait half a minute for a resolver that came back.
        let isAsked = names.wantsFresh(["a.example"], at: second(67))
        #expect(isAsked)
    }

    @Test func aLookupThatHangsIsGivenUpAndItsLateAnswerTaken() throws {
        var names = names("a.example")
        _ = names.takeDue(at: .zero, isDown: { _ in true })
        #expect(names.expire(at: second(9)).isEmpty)
        #expect(names.expire(at: second(10)) == ["a.example"])
        #expect(names.expire(at: second(11)).isEmpty)
        #expect(!names.isSettling(["a.example"]))
        #expect(names.takeDue(at: second(500), isDown: { _ in true }).isEmpty, "its thread still waits")
        let one = try address("192.0.2.1")
        #expect(
            names.answered("a.example", .success([one]), at: second(501)) == .addresses(old: [], new: [one])
        )
        #expect(names.takeDue(at: second(561), isDown: { _ in true }) == ["a.example"])
    }

    @Test func boundsLookupsAndAddresses() throws {
        var names = PeerNames()
        names.setNames((0..<100).map { "n\($0).example" })
        #expect(names.takeDue(at: .zero, isDown: { _ in true }).count == PeerNames.maximumInFlight)
        #expect(names.takeDue(at: .zero, isDown: { _ in true }).isEmpty)
        let many = (0..<200).compactMap { IPAddress("192.0.2.\($0)") }
        _ = names.answered("n0.example", .success(many), at: .zero)
        #expect(names.answers["n0.example"]?.count == PeerNames.maximumAddresses)
        #expect(names.takeDue(at: .zero, isDown: { _ in true }).count == 1)
    }

    @Test func reloadKeepsAnswers() throws {
        var names = names("a.example")
        let one = try address("192.0.2.1")
        _ = names.answered("a.example", .success([one]), at: .zero)
        names.setNames(["a.example", "b.example"])
        #expect(names.answers == ["a.example": [one], "b.example": []])
        names.setNames(["b.example"])
        #expect(names.answers == ["b.example": []])
    }
}

@Suite struct AddressRotationTests {
    @Test func staysWithWhatWorksAndGoesOnAfterAFailure() throws {
        let all = try ["192.0.2.1", "192.0.2.2", "192.0.2.3"].map { try address($0) }
        var rotation = AddressRotation()
        #expect(rotation.order("c", all) == all)
        rotation.tries("c", all[0])
        #expect(rotation.order("c", all) == all)
        rotation.fails("c", all[0])
        // Two tunnels of one attempt report the same failure.
        rotation.fails("c", all[0])
        #expect(rotation.order("c", all) == [all[1], all[2], all[0]])
        rotation.tries("c", all[2])
        rotation.fails("c", all[0])
        #expect(
            rotation.order("c", all).first == all[2],
            "an old attempt's failure tells nothing of this one"
        )
        rotation.fails("c", all[2])
        #expect(rotation.order("c", all) == all)
        #expect(rotation.order("c", [all[1]]) == [all[1]])
        #expect(rotation.order("c", []).isEmpty)
        rotation.keep([])
        #expect(rotation.order("c", all) == all)
    }
}

@Suite struct NetworkViewTests {
    private func view(_ addresses: [String], links: Set<Int32> = [1, 2]) throws -> NetworkView {
        NetworkView(addresses: Set(try addresses.map { try address($0) }), links: links)
    }

    @Test func endsWhatLostItsAddressAndAsksTheOthers() throws {
        let before = try view(["192.0.2.1", "198.51.100.1"])
        let after = try view(["198.51.100.1", "192.0.2.7"])
        let ikes = [(UInt32(1), try address("192.0.2.1")), (2, try address("198.51.100.1"))]
        let review = after.review(ikes, before: before, changes: .addressesChanged)
        #expect(review == NetworkView.Review(ended: [1], asked: [2]))
    }

    @Test func anAddressThatNeverWasOnAnInterfaceCannotVanish() throws {
        let before = try view(["198.51.100.1"])
        let after = try view([])
        let review = after.review(
            [(1, try address("203.0.113.1"))],
            before: before,
            changes: .addressesChanged
        )
        #expect(review == NetworkView.Review(ended: [], asked: [1]))
    }

    @Test func whatLooksTheSameAsksNobody() throws {
        let view = try view(["192.0.2.1"])
        let ikes = [(UInt32(1), try address("192.0.2.1"))]
        #expect(view.review(ikes, before: view, changes: .linksChanged) == NetworkView.Review())
        let routes = view.review(ikes, before: view, changes: .routesChanged)
        #expect(routes == NetworkView.Review(ended: [], asked: [1]))
    }

    @Test func nothingIsGoneBeforeTheFirstLook() throws {
        #expect(NetworkView().isPresent(try address("192.0.2.1")))
    }
}

@Suite struct RetryBudgetTests {
    @Test func aBurstThenASteadyRate() {
        var budget = RetryBudget()
        let start = Instant.zero.advanced(by: .seconds(1000))
        let burst = (0..<1000).count { _ in budget.take(at: start) }
        #expect(burst == Int(RetryBudget.burst))
        let next = budget.availableAt
        #expect(next > start && start.duration(to: next) <= .milliseconds(64))
        let (first, second) = (budget.take(at: next), budget.take(at: next))
        #expect(first && !second)
        let later = next.advanced(by: .seconds(3600))
        let refilled = (0..<1000).count { _ in budget.take(at: later) }
        #expect(refilled == Int(RetryBudget.burst))
        let fromThePast = budget.take(at: start)
        #expect(!fromThePast, "a clock that goes back gives nothing")
    }
}
