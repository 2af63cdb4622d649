import Dispatch
import GatewayConfiguration
import IKEv2
import LinuxIO
import Logging
import Primitives
import SwanctlConfiguration
import Vici

/// Serving strongSwan's control protocol.
extension ControlPlane {
    /// Commands that only change or tell what is loaded: what follows from them may wait for the last of a burst.
    private static let loadCommands: Set<String> = [
        "load-conn", "unload-conn", "get-conns", "load-shared", "unload-shared", "get-shared", "load-key",
        "unload-key", "get-keys", "load-cert", "flush-certs", "clear-creds", "load-token", "load-authority",
        "unload-authority", "get-authorities", "load-pool", "unload-pool", "get-pools",
    ]
    private static let otherCommands: Set<String> = [
        "version", "stats", "reload-settings", "list-sas", "list-policies", "list-conns", "list-certs",
        "list-authorities", "initiate", "terminate", "rekey", "redirect", "install", "uninstall",
        "get-algorithms", "get-counters", "reset-counters",
        // Beyond strongSwan.
        "explain", "list-paths", "get-drops", "summary", "capture",
    ]
    private static let events: Set<String> = [
        "log", "control-log", "list-sa", "list-policy", "list-conn", "list-cert", "list-authority",
        "ike-updown", "ike-rekey", "ike-update", "child-updown", "child-rekey", "alert", "conversation",
        "list-path",
    ]

    func startVici() throws {
        let control = queue
        let board = board
        let server = try ViciServer(
            paths: options.viciPaths.isEmpty ? description.viciPaths : options.viciPaths,
            commands: Self.loadCommands.union(Self.otherCommands),
            events: Self.events
        ) { [weak self] request in
            switch request.command {
            // Answered here, from what is published: they neither wait for the control plane nor hold it up.
            case "version": request.reply(SystemVersion.message)
            case "list-sas": Self.listSAs(request, board)
            case "list-paths": Self.listPaths(request, board)
            case "get-algorithms": request.reply(ViciLists.algorithms)
            default: control.async { [weak self] in self?.assumeIsolated { $0.handle(request) } }
            }
        }
        vici = server
        options.logFeed?.connect(server)
        server.start()
    }

    private func handle(_ request: ViciRequest) {
        guard stopping == nil else { return request.reply(.failure("the daemon stops")) }
        if Self.loadCommands.contains(request.command) {
            load(request)
            return
        }
        applyLoaded()
        switch request.command {
        case "stats": stats(request)
        case "reload-settings": request.reply(reload().map { .failure($0) } ?? .success)
        case "list-conns": listConnections(request)
        case "list-policies": listPolicies(request)
        case "list-certs":
            let (type, flag) = (request.message.string("type"), request.message.string("flag"))
            let subject = request.message.string("subject")
            let events = loaded.certificateListing(type: type, flag: flag, subject: subject)
            stream(request, "list-cert", events)
        case "list-authorities":
            let wanted = request.message.string("name")
            let authorities = loaded.authorities.filter { (wanted ?? $0.name) == $0.name }
            stream(
                request,
                "list-authority",
                authorities.map { one in ViciMessage { $0.section(one.name, one.listing) } }
            )
        case "get-counters":
            let name = request.message.string("name")
            let all = request.message.flag("all") ?? false
            request.reply(ViciLists.counters(engine.counters, name: name, all: all))
        case "reset-counters":
            let all = request.message.flag("all") ?? false
            engine.resetCounters(of: request.message.string("name"), allConnections: all)
            request.reply(.success)
        case "initiate": initiate(request)
        case "terminate": terminate(request)
        case "rekey": rekey(request)
        case "redirect": redirect(request)
        case "install": install(request)
        case "uninstall": uninstall(request)
        case "explain": explain(request)
        case "get-drops": getDrops(request)
        case "summary": summary(request)
        case "capture": capture(request)
        default: request.reply(.failure("unknown command"))
        }
    }

    private func stream(_ request: ViciRequest, _ event: String, _ messages: [ViciMessage]) {
        request.streamAll(
            event,
            messages.count,
            { ViciRequest.frame(event, messages[$0]) },
            ViciMessage()
        )
    }

    /// Tells the board what changed, before anybody hears of it.
    ///
    /// - Returns: the IKE_SAs that are gone.
    func publishChanges() -> Set<UInt32> {
        let changes = engine.takeChanges()
        guard !changes.isEmpty else { return [] }
        board.update(changes)
        return Set(changes.compactMap { $0.snapshot == nil ? $0.id : nil })
    }
}
