import Cryptography
import IPPackets
import IPsecTypes
import Policy

/// Makes policy values of options that are all supported, with strongSwan's defaults.
struct ConnectionBuilder {
    static let origin = ConfigurationOrigin(source: ConfigurationOrigin.vici)
    /// What the data plane can keep of a window.
    static let replayWindows: ClosedRange<UInt32> = 32...8192

    let options: ConnectionOptions
    let credentials: RoundCredentials

    func policy(_ keyring: SharedKeyring) -> ConnectionPolicy {
        let lifetime = Lifetimes.IKE(options)
        let (local, remote) = (localRounds, remoteRounds)
        var policy = ConnectionPolicy(
            name: options.name,
            localAddresses: localAddresses,
            remoteAddress: remoteAddress,
            localIdentity: local.first?.identity,
            remoteIdentity: remote.first?.identity,
            sharedKeys: keyring,
            proposals: proposals(options.proposals, standard: DefaultProposals.ike),
            tunnels: options.children.map { tunnel($0) },
            forcesEncapsulation: options.encap ?? false,
            livenessDelay: options.dpdDelay.flatMap { Lifetimes.duration($0) },
            lifetime: lifetime.policy,
            // Who comes with swanctl.conf expects the rekeys that stand there, and no others.
            preflightsPFS: false,
            uniqueness: options.unique ?? .no,
            reauthentication: lifetime.reauthentication,
            keyingTries: Int(clamping: options.keyingTries ?? 1),
            origin: Self.origin
        )
        policy.localAuthentication = local.first?.authentication ?? LocalAuthentication()
        policy.remoteAuthentication = remote.first?.authentication ?? .sharedKey
        policy.laterLocalRounds = Array(local.dropFirst())
        policy.laterRemoteRounds = Array(remote.dropFirst())
        policy.requestedAddresses = options.virtualAddresses
        policy.postquantum = postquantum
        policy.mobike = options.mobike ?? true
        policy.fragmentation = fragmentation
        policy.childless = options.childless.flatMap { ChildlessPolicy(rawValue: $0) } ?? .allow
        return policy
    }

    /// Its keys are those of the moment, as for pre-shared keys.
    private var postquantum: PostquantumPolicy? {
        let text = options.ppkIdentity ?? ""
        guard !text.isEmpty || options.ppkRequired == true else { return nil }
        return PostquantumPolicy(
            identity: Identity(swanctl: text) ?? .keyID(Array(text.utf8)),
            isRequired: options.ppkRequired ?? false,
            keys: SharedKeyring([])
        )
    }

    private var localRounds: [LocalRound] {
        let rounds = options.localRounds.enumerated().map { index, round in
            LocalRound(
                identity: round.identity?.identity,
                authentication: localAuthentication(round, credentials.local[index])
            )
        }
        // Without a round charon signs with a key of ours.
        return rounds.isEmpty
            ? [LocalRound(identity: nil, authentication: localAuthentication(nil, RoundCredentials.Round()))]
            : rounds
    }

    private func localAuthentication(
        _ round: AuthenticationOptions?,
        _ credentials: RoundCredentials.Round
    ) -> LocalAuthentication {
        var local = LocalAuthentication(
            .signature,
            certificates: credentials.certificates.map { $0.encoded },
            sending: options.sendCertificate.flatMap { CertificateSending(rawValue: $0) } ?? .ifAsked
        )
        switch round?.method {
        case .psk, .xauth: return LocalAuthentication()
        case .publicKey(let text):
            local.constraint = SignatureOption(text)?.constraint ?? SignatureConstraint()
        case .eap(let text):
            local.method = .eap(
                EAPOptions(
                    methods: EAPOption(text)?.methods ?? [],
                    identity: round?.eapIdentity?.identity,
                    server: round?.aaaIdentity?.identity
                )
            )
        case nil: break
        }
        return local
    }

    private var remoteRounds: [RemoteRound] {
        let rounds = options.remoteRounds.enumerated().map { index, round in
            RemoteRound(
                identity: round.identity?.identity,
                authentication: remoteAuthentication(round, credentials.remote[index])
            )
        }
        // Without a round charon takes any proof.
        return rounds.isEmpty
            ? [
                RemoteRound(
                    identity: nil,
                    authentication: remoteAuthentication(nil, RoundCredentials.Round())
                )
            ]
            : rounds
    }

    private func remoteAuthentication(
        _ round: AuthenticationOptions?,
        _ credentials: RoundCredentials.Round
    ) -> RemoteAuthentication {
        var remote = RemoteAuthentication.either
        switch round?.method {
        case .publicKey(let text):
            remote = .signature
            remote.constraint = SignatureOption(text)?.constraint ?? SignatureConstraint()
        case .psk: return .sharedKey
        case .eap: remote = .eap
        case .xauth, nil: break
        }
        remote.certificates = credentials.certificates.map { $0.encoded }
        remote.authorities = credentials.authorities.map { $0.encoded }
        remote.publicKeys = credentials.publicKeys
        remote.revocation = round?.revocation.flatMap { RevocationPolicy(rawValue: $0) } ?? .relaxed
        remote.requestsCertificate = options.sendCertificateRequest ?? true
        return remote
    }

    /// What force adds concerns IKEv1 alone.
    private var fragmentation: FragmentationPolicy {
        switch options.fragmentation {
        case "no": .no
        case "accept": .accept
        default: .yes
        }
    }

    private var localAddresses: [IPAddress] {
        options.localHosts.compactMap { host in
            if case .address(let address) = host { address } else { nil }
        }
    }

    private var remoteAddress: RemoteAddress {
        var hosts: [RemoteHost] = []
        for host in options.remoteHosts {
            switch host {
            case .any(isIPv6: nil): return .any
            case .any(isIPv6: false?): hosts.append(.range(Self.firstV4, Self.lastV4))
            case .any(isIPv6: true?): hosts.append(.range(Self.firstV6, Self.lastV6))
            case .address(let address): hosts.append(.address(address))
            case .prefix(let prefix): hosts.append(.prefix(prefix))
            case .range(let first, let last): hosts.append(.range(first, last))
            case .name(let name): hosts.append(.name(name))
            }
        }
        return hosts.isEmpty ? .any : RemoteAddress(hosts)
    }

    private static let firstV4 = IPAddress.v4(.any)
    private static let lastV4 = IPAddress.v4(IPv4Address(.max))
    private static let firstV6 = IPAddress.v6(.any)
    private static let lastV6 = IPAddress.v6(IPv6Address(high: .max, low: .max))

    private func proposals(_ list: [ProposalOption], standard: [Proposal]) -> [Proposal] {
        guard !list.isEmpty else { return standard }
        return list.flatMap { option in
            switch option {
            case .standard: standard
            case .proposal(let proposal): [proposal]
            case .unsupported: [Proposal]()
            }
        }
    }

    private func tunnel(_ child: ChildOptions) -> TunnelPolicy {
        let volumes = Lifetimes.Volumes(child)
        var tunnel = TunnelPolicy(
            name: child.name,
            localSelectors: selectors(child.localSelectors),
            remoteSelectors: selectors(child.remoteSelectors),
            proposals: proposals(child.espProposals, standard: DefaultProposals.esp),
            persistence: Persistence(
                onLoad: child.startAction ?? StartAction.none,
                onClose: child.closeAction ?? StartAction.none,
                onDead: child.dpdAction ?? StartAction.none,
                triesForEver: false
            ),
            replayWindow: Int(child.replayWindow ?? 32),
            lifetime: volumes.lifetime,
            rekeyVolume: volumes.rekeyVolume,
            limit: volumes.limit,
            updown: child.updown.flatMap { $0.isEmpty ? nil : $0 },
            priority: child.priority.flatMap { $0 == 0 ? nil : Int($0) },
            origin: Self.origin
        )
        tunnel.inactivity = child.inactivity.flatMap { Lifetimes.duration($0) }
        tunnel.grantsHostAccess = child.hostaccess ?? false
        tunnel.padding = child.tfcPadding?.padding ?? .none
        tunnel.copying = HeaderCopying(
            dscp: child.copyDSCP ?? .out,
            ecn: child.copyECN ?? true,
            df: child.copyDF ?? true
        )
        return tunnel
    }

    private func selectors(_ list: [SelectorOption]) -> [ConfiguredSelector] {
        (list.isEmpty ? [SelectorOption()] : list).compactMap { $0.configured }
    }
}

extension SelectorOption {
    /// The policy's selector; nil where both cannot be said together, which is refused before.
    var configured: ConfiguredSelector? {
        switch addresses {
        case .dynamic:
            return .dynamic(ipProtocol: ipProtocol, ports: ports)
        case .range(let first, let last):
            return TrafficSelector(first, last, ipProtocol: ipProtocol, ports: ports, isOpaque: isOpaque)
                .map { .fixed($0) }
        }
    }
}
