import Dispatch
import GatewayConfiguration
import IPPackets
import IPsecTypes
import LinuxIO
import Logging
import Policy
import Primitives

/// The packet filter that lets no plaintext in from outside.
extension ControlPlane {
    private func wantedFilter() -> NoLeakFilter? {
        let peers = answeredConnections.flatMap { $0.remoteAddress.initiatorTargets }
        do throws(LinuxError) {
            return try RouteManager.filter(description, peers: peers)
        } catch {
            warnOfFilter(error)
            return nil
        }
    }

    /// Applies the filter and waits for it: before the first route, and at a reload.
    func applyFilterNow() {
        guard let wanted = wantedFilter() else { return }
        filter = wanted
        let result: Result<Void, LinuxError> = filterQueue.sync {
            do throws(LinuxError) { return .success(try wanted.apply()) } catch { return .failure(error) }
        }
        if case .failure(let error) = result { warnOfFilter(error) }
    }

    /// Applies the filter if it changed, without waiting: a program of the system takes its time.
    func applyFilter() {
        guard stopping == nil, let wanted = wantedFilter(), wanted != filter else { return }
        filter = wanted
        runFilter()
    }

    /// One at a time; what changed meanwhile follows at once.
    private func runFilter() {
        guard !isFiltering, let wanted = filter else { return }
        isFiltering = true
        let control = queue
        filterQueue.async { [weak self] in
            let failure: LinuxError?
            do throws(LinuxError) {
                try wanted.apply()
                failure = nil
            } catch {
                failure = error
            }
            control.async { [weak self] in
                self?.assumeIsolated { plane in
                    plane.isFiltering = false
                    if let failure { plane.warnOfFilter(failure) }
                    if plane.filter != wanted, plane.stopping == nil { plane.runFilter() }
                }
            }
        }
    }

    private func warnOfFilter(_ error: LinuxError) {
        logger.warning("no filter against plaintext from outside: \(error)")
    }
}
