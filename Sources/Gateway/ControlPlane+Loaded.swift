import GatewayConfiguration
import IKECore
import IKEv2
import LinuxIO
import Logging
import Policy
import Primitives
import SwanctlConfiguration

/// Carrying out what was loaded over vici.
///
/// Loading one connection costs the same whatever the number of others: what follows from it is done once for a
/// burst of them, and before anybody could see that it was not.
extension ControlPlane {
    /// How long the next `load-conn` of a burst is waited for.
    private static let pause = Duration.milliseconds(20)
    /// What is loaded takes effect after this, whatever else comes.
    private static let longestPause = Duration.milliseconds(100)

    /// True for a connection that came over vici.
    func isLoaded(_ name: String) -> Bool { loaded.connection(name) != nil }

    /// Something was loaded or unloaded.
    func noteLoaded() {
        let now = MonotonicClock.now()
        let since = loadedSince ?? now
        loadedSince = since
        isEngineStale = true
        loadTimer?.arm(at: min(now.advanced(by: Self.pause), since.advanced(by: Self.longestPause)))
    }

    /// The engine's part alone, which the next IKE message needs.
    func applyLoadedToEngine() {
        guard isEngineStale else { return }
        isEngineStale = false
        mergeLoaded()
        engine.handle(.setPolicies(answeredConnections), at: MonotonicClock.now())
    }

    /// Everything that follows from what was loaded.
    func applyLoaded() {
        guard loadedSince != nil else { return }
        loadedSince = nil
        isEngineStale = false
        loadTimer?.disarm()
        mergeLoaded()
        // Before the traps: what they let in must have a way.
        do throws(LinuxError) { try routes?.applyDifference(description) } catch {
            logger.error("routes could not be changed: \(error)")
        }
        applyPolicies()
        try? notifier.ready(status: "\(description.connections.count) connections")
    }

    func loadTimerFired() {
        applyLoaded()
        settle()
    }

    /// What runs: the connections of the file, then those of vici.
    func mergeLoaded() {
        description.connections =
            fileConnections
            + loaded.connections.map { connection in
                var policy = connection.policy
                policy.keepaliveInterval = description.keepaliveInterval
                return policy
            }
        indexConnections()
    }
}
