import IKECore
import IPPackets
import Policy
import Primitives
import Testing

@testable import Gateway

/// A tunnel as gateway.yaml says it.
func tunnel(_ key: TunnelKey, _ mode: StartMode, _ canInitiate: Bool = true) -> SupervisedTunnel {
    SupervisedTunnel(key, Persistence(mode), canInitiate: canInitiate)
}

@Suite struct SupervisorTests {
    private let key = TunnelKey(connection: "branch", tunnel: "net")
    private let start = Instant.zero

    private func supervisor(_ mode: StartMode, canInitiate: Bool = true) -> Supervisor {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 7))
        supervisor.setTunnels([tunnel(key, mode, canInitiate)], at: start)
        return supervisor
    }

    private func seconds(_ count: Double) -> Instant {
        start.advanced(by: .milliseconds(Int64(count * 1000)))
    }

    @Test func startsAtOnceWhatShallBeUp() {
        var supervisor = supervisor(.start)
        #expect(supervisor.deadline == start)
        #expect(supervisor.takeDue(at: start) == [key])
        #expect(supervisor.takeDue(at: seconds(100)).isEmpty)
    }

    @Test(arguments: [StartMode.onDemand, .passive]) func waitsForATrigger(_ mode: StartMode) {
        var supervisor = supervisor(mode)
        #expect(supervisor.takeDue(at: seconds(100)).isEmpty)
        supervisor.trigger(key, at: seconds(1))
        #expect(supervisor.takeDue(at: seconds(1)) == (mode == .onDemand ? [key] : []))
    }

    @Test func neverInitiatesWithoutAnAddress() {
        var supervisor = supervisor(.start, canInitiate: false)
        supervisor.trigger(key, at: start)
        #expect(supervisor.takeDue(at: seconds(100)).isEmpty)
    }

    @Test func backsOffWithJitterUpToAMinute() throws {
        var supervisor = supervisor(.start)
        var now = start
        var waits = [Double]()
        for _ in 0..<40 {
            #expect(supervisor.takeDue(at: now) == [key])
            supervisor.attemptFailed(key, cause: .halfOpenExpired, at: now)
            let next = try #require(supervisor.deadline)
            waits.append(now.duration(to: next).fractionalSeconds)
            now = next
        }
        #expect(waits.allSatisfy { $0 >= 0.5 && $0 <= 60.5 })
        #expect((waits.first ?? 99) <= 2.5)
        #expect((waits.max() ?? 0) > 30)
        #expect(Set(waits).count > 20)
    }

    @Test func comesBackSoonAfterGoingDown() throws {
        var supervisor = supervisor(.start)
        _ = supervisor.takeDue(at: start)
        supervisor.childUp(key, id: 1, at: start)
        #expect(supervisor.entries[key]?.phase == .up(1))
        supervisor.childDown(key, id: 1, cause: .peerDeleted, at: seconds(10))
        let next = try #require(supervisor.deadline)
        #expect(next > seconds(10) && next <= seconds(11))
        #expect(supervisor.entries[key]?.lastCause == "deleted by the peer")
    }

    @Test func aSecondChildKeepsTheTunnelUp() {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.childUp(key, id: 2, at: start)
        supervisor.childDown(key, id: 1, cause: .peerDeleted, at: start)
        #expect(supervisor.entries[key]?.phase == .up(1))
    }

    @Test func staysDownWhenAUserTookItDown() {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.holdDown(key)
        supervisor.childDown(key, id: 1, cause: .localRequest, at: start)
        supervisor.trigger(key, at: start)
        #expect(supervisor.takeDue(at: seconds(1000)).isEmpty)
        supervisor.request(key, at: seconds(1000))
        #expect(supervisor.takeDue(at: seconds(1000)) == [key])
    }

    @Test func aFailedAttemptBesideALivingTunnelChangesNothing() {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        supervisor.attemptFailed(key, cause: .halfOpenExpired, at: start)
        #expect(supervisor.entries[key]?.phase == .up(1))
    }

    @Test func boundsHandshakesInFlight() {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 1))
        let keys = (0..<200).map { TunnelKey(connection: "c\($0)", tunnel: "t") }
        supervisor.setTunnels(keys.map { tunnel($0, .start) }, at: start)
        let first = supervisor.takeDue(at: start)
        #expect(first.count == Supervisor.maximumInFlight)
        #expect(supervisor.takeDue(at: start).isEmpty)
        // What failed used its attempt up: the next ones come at the steady rate.
        for key in first.prefix(10) { supervisor.attemptFailed(key, cause: .localRequest, at: start) }
        #expect(supervisor.takeDue(at: start).isEmpty)
        #expect(supervisor.takeDue(at: seconds(0.25)).count == 4)
        #expect(supervisor.takeDue(at: seconds(10)).count == 6)
        #expect(supervisor.deadline == nil)
    }

    @Test func whatComesUpMakesRoomForTheNext() {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 1))
        let keys = (0..<10_000).map { TunnelKey(connection: "c\($0)", tunnel: "t") }
        supervisor.setTunnels(keys.map { tunnel($0, .start) }, at: start)
        var begun = Set<TunnelKey>()
        while case let next = supervisor.takeDue(at: start), !next.isEmpty {
            #expect(next.count <= Supervisor.maximumInFlight)
            for key in next {
                #expect(begun.insert(key).inserted)
                supervisor.childUp(key, id: UInt32(begun.count), at: start)
            }
        }
        #expect(begun.count == keys.count)
        // What comes back at once after all went down is held to the rate.
        for (index, key) in keys.enumerated() {
            supervisor.childDown(key, id: UInt32(index + 1), cause: .peerDeleted, at: start)
        }
        #expect(supervisor.takeDue(at: seconds(2)).count <= Int(RetryBudget.burst))
    }

    @Test func aRekeyChangesNoCountAndItsOldChildGoesSilently() {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        for id in UInt32(1)...1000 {
            supervisor.childRekeyed(key, old: id, new: id + 1, at: seconds(Double(id)))
            #expect(supervisor.entries[key]?.phase == .up(1))
        }
        // An event of a child that was replaced tells nothing about the tunnel.
        supervisor.childDown(key, id: 7, cause: .peerDeleted, at: seconds(2000))
        #expect(supervisor.entries[key]?.phase == .up(1) && supervisor.deadline == nil)
        supervisor.childDown(key, id: 1001, cause: .peerDeleted, at: seconds(2000))
        #expect(supervisor.deadline != nil)
    }

    @Test func aTunnelThatDoesNotStayUpBacksOff() throws {
        var supervisor = supervisor(.start)
        var now = start
        var waits = [Double]()
        for id in UInt32(1)...20 {
            #expect(supervisor.takeDue(at: now) == [key])
            supervisor.childUp(key, id: id, at: now)
            supervisor.childDown(key, id: id, cause: .peerDeleted, at: now.advanced(by: .seconds(1)))
            let next = try #require(supervisor.deadline)
            waits.append(now.duration(to: next).fractionalSeconds - 1)
            now = next
        }
        #expect((waits.max() ?? 0) > 20, "\(waits)")
        supervisor.childUp(key, id: 99, at: now)
        supervisor.childDown(key, id: 99, cause: .peerDeleted, at: now.advanced(by: .seconds(60)))
        let next = try #require(supervisor.deadline)
        #expect(now.advanced(by: .seconds(60)).duration(to: next) <= .seconds(1))
    }

    @Test func aLostAddressIsNoFailure() throws {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        let gone = DownCause.localAddressGone(try #require(IPAddress("192.0.2.1")))
        supervisor.childDown(key, id: 1, cause: gone, at: seconds(3))
        #expect(supervisor.takeDue(at: seconds(3)) == [key])
        #expect(supervisor.entries[key]?.failures == 0)
    }

    @Test func triesAtOnceWhenTheNetworkChanged() throws {
        var supervisor = supervisor(.start)
        for _ in 0..<6 {
            let due = try #require(supervisor.deadline)
            #expect(supervisor.takeDue(at: due) == [key])
            supervisor.attemptFailed(key, cause: .halfOpenExpired, at: due)
        }
        let now = try #require(supervisor.deadline).advanced(by: .milliseconds(-1))
        supervisor.tryNow("other", forgetsFailures: true, at: now)
        #expect(supervisor.takeDue(at: now).isEmpty)
        supervisor.tryNow(nil, forgetsFailures: true, at: now)
        #expect(supervisor.takeDue(at: now) == [key])
        #expect(supervisor.entries[key]?.failures == 0)
    }

    @Test func anIKESAStaysForATunnelThatShallComeUp() {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 1))
        let other = TunnelKey(connection: "branch", tunnel: "voice")
        supervisor.setTunnels([tunnel(key, .start), tunnel(other, .onDemand)], at: start)
        #expect(supervisor.lacksTunnel("branch"))
        supervisor.childUp(key, id: 1, at: start)
        #expect(!supervisor.lacksTunnel("branch") && !supervisor.isDown("branch"))
        supervisor.trigger(other, at: start)
        #expect(supervisor.lacksTunnel("branch"))
        supervisor.holdDown(other)
        #expect(!supervisor.lacksTunnel("branch") && !supervisor.lacksTunnel("unknown"))
    }

    @Test func tenThousandTunnelsThatFailAreTriedAtTheBudgetsPace() {
        var supervisor = Supervisor(entropy: SeededEntropy(seed: 1))
        let keys = (0..<10_000).map { TunnelKey(connection: "c\($0)", tunnel: "t") }
        supervisor.setTunnels(keys.map { tunnel($0, .start) }, at: start)
        var (taken, now) = (0, start)
        for _ in 0..<60 {
            for key in supervisor.takeDue(at: now) {
                taken += 1
                supervisor.attemptFailed(key, cause: .localRequest, at: now)
            }
            now = now.advanced(by: .seconds(1))
        }
        let expected = RetryBudget.burst + 59 * RetryBudget.perSecond
        #expect(abs(Double(taken) - expected) <= 1)
    }

    @Test func reloadKeepsWhatStays() {
        var supervisor = supervisor(.start)
        supervisor.childUp(key, id: 1, at: start)
        let other = TunnelKey(connection: "new", tunnel: "net")
        supervisor.setTunnels([tunnel(key, .start), tunnel(other, .passive)], at: seconds(5))
        #expect(supervisor.entries[key]?.phase == .up(1))
        #expect(supervisor.entries[other]?.phase == .idle)
        supervisor.setTunnels([tunnel(other, .start)], at: seconds(6))
        #expect(supervisor.entries[key] == nil)
        #expect(supervisor.takeDue(at: seconds(6)) == [other])
    }
}

@Suite struct LogThrottleTests {
    @Test func letsOneLineThroughInTenSecondsAndCountsTheRest() {
        var throttle = LogThrottle()
        let start = Instant.zero
        #expect(throttle.admit("a", at: start) == 0)
        for _ in 0..<1000 { #expect(throttle.admit("a", at: start.advanced(by: .seconds(9))) == nil) }
        #expect(throttle.admit("b", at: start) == 0)
        #expect(throttle.admit("a", at: start.advanced(by: .seconds(10))) == 1000)
    }

    @Test func isBoundedInReasons() {
        var throttle = LogThrottle()
        let admitted = (0..<10_000).filter { throttle.admit("reason \($0)", at: .zero) != nil }
        #expect(admitted.count == 512)
    }
}

@Suite struct SystemVersionTests {
    @Test(
        arguments: [
            (0, "Jan 01 00:00:00 UTC 1970"), (951_782_399, "Feb 28 23:59:59 UTC 2000"),
            (951_782_400, "Feb 29 00:00:00 UTC 2000"), (1_795_554_000, "Nov 24 21:00:00 UTC 2026"),
        ] as [(Int64, String)]
    )
    func writesCalendarTime(_ seconds: Int64, _ text: String) {
        #expect(SystemVersion.calendarText(seconds) == text)
    }

    @Test(
        arguments: [
            (0, "0 seconds"), (1, "1 second"), (120, "120 seconds"), (121, "2 minutes"), (7_201, "2 hours"),
            (200_000, "2 days"),
        ] as [(Int64, String)]
    )
    func writesSpans(_ seconds: Int64, _ text: String) {
        #expect(SystemVersion.spanText(seconds) == text)
    }
}
