import GatewayConfiguration
import IKECore
import IKEv2
import LinuxIO
import Logging
import Policy
import Primitives
import SwanctlConfiguration
import Vici

/// Why a command was refused before the configuration saw it.
private struct Refusal: Error, CustomStringConvertible {
    let description: String
}

/// Commands that load and unload, and tell what is loaded.
extension ControlPlane {
    func load(_ request: ViciRequest) {
        do {
            request.reply(try answer(request.command, request.message))
        } catch {
            logger.info("\(request.command) refused: \(error)", metadata: ["event": "load-refused"])
            request.reply(.failure("\(error)"))
        }
    }

    private func answer(_ command: String, _ message: ViciMessage) throws -> ViciMessage {
        switch command {
        case "load-conn": try loadConnection(message)
        case "unload-conn":
            let name = try Self.required(message, "name", "unload: missing connection name")
            let gone = loaded.changedTunnels(of: name, by: ViciMessage())
            try loaded.unloadConnection(name)
            endStarted(gone, of: name)
            logger.info("connection \(name) unloaded over vici", metadata: ["event": "unloaded"])
            noteLoaded()
        case "get-conns": return Self.list("conns", loaded.connectionNames)
        case "load-pool", "unload-pool", "get-pools": return try answerAboutPools(command, message)
        case "load-authority", "unload-authority", "get-authorities":
            return try answerAboutAuthorities(command, message)
        default: return try answerAboutCredentials(command, message)
        }
        return .success
    }

    private func loadConnection(_ message: ViciMessage) throws {
        for (name, _) in message.sections {
            guard let configured = fileConnections.first(where: { $0.name == name }) else { continue }
            throw Refusal(
                description:
                    "connection '\(name)' is configured in \(configured.origin) and cannot be replaced"
            )
        }
        let changed = message.sections.map { ($0.name, loaded.changedTunnels(of: $0.name, by: message)) }
        try loaded.loadConnection(message)
        for (name, tunnels) in changed { endStarted(tunnels, of: name) }
        for (name, _) in message.sections {
            logger.info(
                "connection \(name) loaded over vici",
                metadata: ["event": "loaded", "connection": "\(name)"]
            )
        }
        noteLoaded()
    }

    /// As in strongSwan what a start_action began ends with the definition that said so; a new one begins it anew.
    ///
    /// An IKE_SA with nothing else goes with it. What follows is carried out with what was loaded.
    private func endStarted(_ tunnels: [TunnelPolicy], of connection: String) {
        let names = Set(tunnels.filter { $0.persistence.onLoad.starts }.map { $0.name })
        guard !names.isEmpty else { return }
        _ = publishChanges()
        let now = MonotonicClock.now()
        for ike in board.listed(connection: connection).map({ $0.snapshot }) {
            let going = ike.children.filter { names.contains($0.tunnel) }
            if ike.children.count == going.count {
                engine.handle(.terminateIKE(id: ike.id, cause: .policyChanged), at: now)
            } else {
                for child in going {
                    engine.handle(.terminateChild(id: child.id, cause: .policyChanged), at: now)
                }
            }
        }
    }

    private func answerAboutCredentials(_ command: String, _ message: ViciMessage) throws
        -> ViciMessage
    {
        switch command {
        case "load-shared": try loaded.loadShared(message)
        case "unload-shared":
            try loaded.unloadShared(try Self.required(message, "id", "unique identifier missing"))
        case "get-shared": return Self.list("keys", loaded.sharedIdentifiers)
        case "load-key":
            let id = try loaded.loadKey(message)
            noteLoaded()
            return ViciMessage { answer in
                answer.set("success", flag: true)
                answer.set("id", id)
            }
        case "unload-key": try loaded.unloadKey(try Self.required(message, "id", "key id missing"))
        case "get-keys": return Self.list("keys", loaded.keyIdentifiers)
        case "load-cert": try loaded.loadCertificate(message)
        case "flush-certs":
            try loaded.flushCertificates(type: message.string("type"))
            revocationCache.removeAll()
        case "clear-creds": loaded.clearCredentials()
        case "load-token": throw Refusal(description: "load-token is not supported: there are no tokens")
        default: throw Refusal(description: "unknown command")
        }
        // Keys are part of the policies.
        noteLoaded()
        return .success
    }

    private func answerAboutPools(_ command: String, _ message: ViciMessage) throws -> ViciMessage {
        switch command {
        case "load-pool": try loaded.loadPool(message)
        case "unload-pool":
            try loaded.unloadPool(try Self.required(message, "name", "missing pool name to unload"))
        default:
            let wanted = message.string("name")
            // Nothing is given away yet: addresses are for point-to-site connections.
            let pools = loaded.pools.filter { (wanted ?? $0.name) == $0.name }
            let showsLeases = message.flag("leases") ?? false
            return ViciMessage { answer in
                for pool in pools {
                    var section = pool.listing()
                    if showsLeases { section.section("leases") { _ in } }
                    answer.section(pool.name, section)
                }
            }
        }
        return .success
    }

    private func answerAboutAuthorities(_ command: String, _ message: ViciMessage) throws
        -> ViciMessage
    {
        switch command {
        case "load-authority":
            try loaded.loadAuthority(message)
            noteLoaded()
        case "unload-authority":
            try loaded.unloadAuthority(try Self.required(message, "name", "unload: missing authority name"))
            noteLoaded()
        default: return Self.list("authorities", loaded.authorities.map { $0.name })
        }
        return .success
    }

    private static func required(_ message: ViciMessage, _ key: String, _ missing: String) throws
        -> String
    {
        guard let text = message.string(key) else { throw Refusal(description: missing) }
        return text
    }

    private static func list(_ key: String, _ texts: [String]) -> ViciMessage {
        ViciMessage { $0.list(key, texts) }
    }
}
