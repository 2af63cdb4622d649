import Dispatch
import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Logging
import Policy
import Primitives
import Vici

/// Redirects in both directions (RFC 5685).
extension ControlPlane {
    /// Goes where a peer sends us; a name is looked up first.
    func follow(_ redirection: Redirection) {
        switch redirection.gateway {
        case .address(let address): follow(redirection, [address], nil)
        case .name(let name):
            let control = queue
            let lookup = options.lookup
            // As many as there are connections at most: each follows few redirects, and one at a time.
            DispatchQueue.global(qos: .utility).async { [weak self] in
                let result: Result<[IPAddress], NameLookupError>
                do throws(NameLookupError) { result = .success(try lookup(name)) } catch {
                    result = .failure(error)
                }
                control.async { [weak self] in
                    self?.assumeIsolated { plane in
                        switch result {
                        case .success(let addresses): plane.follow(redirection, addresses, nil)
                        case .failure(let error): plane.follow(redirection, [], error.description)
                        }
                        plane.settle()
                    }
                }
            }
        }
    }

    private func follow(_ redirection: Redirection, _ addresses: [IPAddress], _ failure: String?) {
        let now = MonotonicClock.now()
        guard stopping == nil, let connection = connection(named: redirection.connection) else { return }
        for remote in addresses {
            guard let local = localAddress(for: connection, towards: remote) else { continue }
            logger.notice(
                "\(redirection.connection): \(redirection.from) redirects us to \(redirection.gateway)",
                metadata: ["event": "redirected", "connection": "\(redirection.connection)"]
            )
            let port = description.ikePort
            engine.handle(
                .follow(redirection, local: Endpoint(local, port), remote: Endpoint(remote, port)),
                at: now
            )
            return
        }
        let reason = failure ?? "no route to it"
        logger.warning(
            "\(redirection.connection): \(redirection.from) redirects us to \(redirection.gateway), but \(reason)"
        )
        let cause = DownCause.noConnection("redirected to \(redirection.gateway), but \(reason)")
        for tunnel in redirection.tunnels {
            let key = TunnelKey(connection: redirection.connection, tunnel: tunnel)
            guard supervisor.entries[key]?.isUp != true else { continue }
            supervisor.attemptFailed(key, cause: cause, at: now)
            failPending(key, cause.description)
        }
    }

    /// The command `redirect`: sends the peers of established IKE_SAs to another gateway.
    func redirect(_ request: ViciRequest) {
        let message = request.message
        guard let text = message.string("gateway"), let identity = Identity(swanctl: text) else {
            return request.reply(.failure("missing target gateway"))
        }
        guard let gateway = RedirectGateway(identity) else {
            return request.reply(.failure("unsupported gateway identity"))
        }
        var range: ClosedRange<IPAddress>?
        if let text = message.string("peer-ip") {
            guard let found = Self.addresses(text) else {
                return request.reply(.failure("invalid peer IP selector"))
            }
            range = found
        }
        var peer: Identity?
        if let text = message.string("peer-id") {
            guard let found = Identity(swanctl: text) else {
                return request.reply(.failure("invalid peer identity selector"))
            }
            peer = found
        }
        let ike = message.string("ike")
        let id = message.number("ike-id", as: UInt32.self).flatMap { $0 == 0 ? nil : $0 }
        guard range != nil || peer != nil || ike != nil || id != nil else {
            return request.reply(.failure("missing redirect selector"))
        }
        _ = publishChanges()
        let found = board.listed(connection: ike, id: id).map { $0.snapshot }.filter { sa in
            guard sa.state == .established else { return false }
            if let range, !range.contains(sa.remote.address) { return false }
            if let peer, !(sa.remoteIdentity.map { peer.matches($0) } ?? false) { return false }
            return true
        }
        let now = MonotonicClock.now()
        for sa in found { engine.handle(.redirect(ikeID: sa.id, to: gateway), at: now) }
        let error = found.isEmpty ? "no matching SAs to redirect found" : nil
        request.reply(.counted("matches", found.count, error))
        settle()
    }

    /// An address, a network or a range, as strongSwan reads them.
    static func addresses(_ text: String) -> ClosedRange<IPAddress>? {
        if let dash = text.firstIndex(of: "-") {
            guard let first = IPAddress(text[..<dash]),
                let last = IPAddress(text[text.index(after: dash)...]),
                first.bitWidth == last.bitWidth, first <= last
            else { return nil }
            return first...last
        }
        return IPPrefix(text).map { $0.address...$0.last }
    }
}

extension RedirectGateway {
    /// The gateway that an identity names: an address or a DNS name.
    fileprivate init?(_ identity: Identity) {
        switch identity {
        case .address(let address): self = .address(address)
        case .fqdn(let name): self = .name(name)
        default: return nil
        }
        guard let encoded, RedirectGateway.parse(encoded) != nil else { return nil }
    }
}
