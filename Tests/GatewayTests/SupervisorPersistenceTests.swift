import IKECore
import IPPackets
import Policy
import Primitives
import Testing

@testable import Gateway

/// What keeps up a tunnel that was loaded over vici: strongSwan's start, close and DPD actions.
@Suite struct SupervisorPersistenceTests {
    private let key = TunnelKey(connection: "home", tunnel: "net")
    private let start = Instant.zero
    private let dead = DownCause.noAnswer(to: "INFORMATIONAL", attempts: 5, seconds: 165)

    private func supervisor(
        _ onLoad: StartAction,
        onClose: StartAction = .none,
        onDead: StartAction = .none,
        tries: Int = 1
    ) -> Supervisor {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 7))
        supervisor.setTunnels([loaded(onLoad, onClose, onDead, tries)], at: start)
        return supervisor
    }

    private func loaded(
        _ onLoad: StartAction,
        _ onClose: StartAction = .none,
        _ onDead: StartAction = .none,
        _ tries: Int = 1
    ) -> SupervisedTunnel {
        let persistence = Persistence(onLoad: onLoad, onClose: onClose, onDead: onDead, triesForEver: false)
        return SupervisedTunnel(key, persistence, canInitiate: true, tries: tries)
    }

    private func seconds(_ count: Int64) -> Instant { start.advanced(by: .seconds(count)) }

    /// Fails as many attempts as are made within a day; returns their number.
    private func fail(_ supervisor: inout Supervisor, most: Int) -> Int {
        for attempt in 0..<most {
            let now = seconds(Int64(attempt + 1) * 1000)
            guard supervisor.takeDue(at: now) == [key] else { return attempt }
            supervisor.attemptFailed(key, cause: dead, at: now)
        }
        return most
    }

    @Test(arguments: [(1, 1), (3, 3), (0, 20)])
    func triesAsOftenAsItShall(tries: Int, attempts: Int) {
        var supervisor = supervisor(.start, tries: tries)
        #expect(fail(&supervisor, most: 20) == attempts)
    }

    @Test func aUserGetsAllTriesAgain() {
        var supervisor = supervisor(.none, tries: 2)
        #expect(supervisor.takeDue(at: start).isEmpty)
        for _ in 0..<2 {
            supervisor.request(key, at: start)
            #expect(fail(&supervisor, most: 20) == 2)
        }
    }

    @Test func withoutATrapNoPacketStartsIt() {
        var supervisor = supervisor(.start)
        #expect(fail(&supervisor, most: 5) == 1 && !supervisor.traps(key))
        supervisor.trigger(key, at: seconds(10_000))
        #expect(supervisor.takeDue(at: seconds(10_000)).isEmpty)
    }

    @Test(arguments: [StartAction.trap, .trapAndStart]) func aTrapSurvivesFailure(_ action: StartAction) {
        var supervisor = supervisor(action)
        supervisor.trigger(key, at: start)
        _ = fail(&supervisor, most: 5)
        #expect(supervisor.traps(key))
        supervisor.trigger(key, at: seconds(10_000))
        #expect(supervisor.takeDue(at: seconds(10_000)) == [key])
    }

    @Test(arguments: [StartAction.none, .trap, .start])
    func closedByThePeerTheCloseActionDecides(_ action: StartAction) {
        var supervisor = supervisor(.start, onClose: action, onDead: .start)
        _ = supervisor.takeDue(at: start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.childDown(key, id: 1, cause: .peerDeleted, at: seconds(100))
        #expect(supervisor.takeDue(at: seconds(200)) == (action == .start ? [key] : []))
        #expect(supervisor.traps(key) == (action == .trap))
    }

    @Test func aDeadPeerIsTriedForEver() {
        var supervisor = supervisor(.start, onDead: .start, tries: 1)
        _ = supervisor.takeDue(at: start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.childDown(key, id: 1, cause: dead, at: seconds(100))
        #expect(fail(&supervisor, most: 20) == 20)
        // Up once more, it is as before.
        supervisor.childUp(key, id: 2, at: seconds(30_000))
        supervisor.childDown(key, id: 2, cause: .peerDeleted, at: seconds(30_100))
        #expect(supervisor.takeDue(at: seconds(40_000)).isEmpty)
    }

    @Test func aDeadPeerWithoutActionStaysDown() {
        var supervisor = supervisor(.start, onClose: .start)
        _ = supervisor.takeDue(at: start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.childDown(key, id: 1, cause: dead, at: seconds(100))
        #expect(supervisor.takeDue(at: seconds(200)).isEmpty)
    }

    @Test func takenDownByTheUserItStaysDownButItsTrapStays() {
        var supervisor = supervisor(.trapAndStart, onClose: .start, onDead: .start)
        _ = supervisor.takeDue(at: start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.holdDown(key)
        supervisor.childDown(key, id: 1, cause: .localRequest, at: seconds(100))
        #expect(supervisor.takeDue(at: seconds(200)).isEmpty && supervisor.traps(key))
        supervisor.trigger(key, at: seconds(300))
        #expect(supervisor.takeDue(at: seconds(300)) == [key])
    }

    @Test func whatExpiredIsMadeAnew() {
        var supervisor = supervisor(.none)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.childDown(key, id: 1, cause: .lifetimeOver(lastFailure: nil), at: seconds(100))
        #expect(supervisor.takeDue(at: seconds(200)) == [key])
    }

    @Test func trapsAreInstalledAndUninstalled() {
        var supervisor = supervisor(.none)
        #expect(!supervisor.traps(key) && !supervisor.uninstall(key, at: start))
        supervisor.install(key, at: start)
        #expect(supervisor.traps(key))
        supervisor.trigger(key, at: start)
        #expect(supervisor.takeDue(at: start) == [key])
        #expect(supervisor.uninstall(key, at: start) && !supervisor.traps(key))
    }

    @Test func loadingTheSameAgainStartsNothing() {
        var supervisor = supervisor(.start)
        #expect(fail(&supervisor, most: 5) == 1)
        supervisor.setTunnels([loaded(.start)], at: seconds(20_000))
        #expect(supervisor.takeDue(at: seconds(20_000)).isEmpty)
        supervisor.setTunnels([loaded(.trap)], at: seconds(30_000))
        #expect(supervisor.takeDue(at: seconds(30_000)).isEmpty && supervisor.traps(key))
        supervisor.setTunnels([loaded(.start)], at: seconds(40_000))
        #expect(supervisor.takeDue(at: seconds(40_000)) == [key] && !supervisor.traps(key))
    }
}
