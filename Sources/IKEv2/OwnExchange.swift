import Cryptography
import IKECore
import IKEMessages
import IPsecTypes
import Policy
import Primitives

/// An exchange that we begin on an established IKE_SA; there is one at a time (RFC 7296 §2.3).
struct OwnExchange {
    /// What it is for.
    enum Task: Equatable {
        /// An empty INFORMATIONAL (§2.4).
        case livenessCheck
        /// An INFORMATIONAL that makes an IP packet of this size.
        case probePath(octets: Int)
        /// INVALID_SPI for a packet that came with this SPI (§1.5).
        case invalidSPI(SPI)
        /// REDIRECT to this gateway (RFC 5685 §5).
        case redirect(RedirectGateway)
        /// UPDATE_SA_ADDRESSES (RFC 4555 §3.5).
        case updateAddresses
        /// Our other addresses (RFC 4555 §3.6).
        case announceAddresses
        /// Whether the peer receives at the address that it moved to (RFC 4555 §3.7).
        case checkPath
        /// A first CHILD_SA of a tunnel, by its name.
        case createChild(tunnel: String)
        /// A CHILD_SA in place of the one with this number.
        case rekeyChild(id: UInt32)
        /// An IKE_SA in place of this one (§2.18).
        case rekeyIKE
        /// DELETE of CHILD_SAs by our inbound SPIs.
        case deleteChildren([SPI])
        /// DELETE of this IKE_SA.
        case deleteIKE

        var exchange: ExchangeType {
            switch self {
            case .createChild, .rekeyChild, .rekeyIKE: .createChildSA
            case .livenessCheck, .probePath, .invalidSPI, .redirect, .updateAddresses, .announceAddresses,
                .checkPath, .deleteChildren, .deleteIKE:
                .informational
            }
        }

        /// For messages to people.
        var name: String {
            switch self {
            case .createChild: "CREATE_CHILD_SA (new CHILD_SA)"
            case .rekeyChild: "CREATE_CHILD_SA (CHILD_SA rekey)"
            case .rekeyIKE: "CREATE_CHILD_SA (IKE_SA rekey)"
            case .livenessCheck, .probePath, .invalidSPI: "INFORMATIONAL (liveness)"
            case .updateAddresses, .announceAddresses, .checkPath: "INFORMATIONAL (MOBIKE)"
            case .redirect: "INFORMATIONAL (REDIRECT)"
            case .deleteChildren, .deleteIKE: "INFORMATIONAL (DELETE)"
            }
        }

        /// What strongSwan calls its task for the same.
        var listedName: String {
            switch self {
            case .livenessCheck, .invalidSPI: "IKE_DPD"
            case .probePath: "IKE_PATH_PROBE"
            case .redirect: "IKE_REDIRECT"
            case .updateAddresses, .announceAddresses, .checkPath: "IKE_MOBIKE"
            case .createChild: "CHILD_CREATE"
            case .rekeyChild: "CHILD_REKEY"
            case .rekeyIKE: "IKE_REKEY"
            case .deleteChildren: "CHILD_DELETE"
            case .deleteIKE: "IKE_DELETE"
            }
        }
    }

    /// How far it is.
    enum Phase {
        /// A key pair is being made for it; nothing is sent.
        case preparing(job: UInt64)
        /// The request is out.
        case requested(OutstandingRequest)
        /// The response came; its shared secret is being computed.
        case deriving(job: UInt64, Answer)
    }

    /// What a response agreed on, while its key exchange is being computed.
    enum Answer {
        case child(ChildNegotiation.Agreement, nonce: [UInt8])
        case ike(IKESuite, peerSPI: IKESPI, nonce: [UInt8])

        /// The groups of the further key exchanges that it takes.
        var additionalGroups: [KeyExchangeGroup] {
            switch self {
            case .child(let agreement, _): agreement.proposal.additionalGroups
            case .ike(let suite, _, _): suite.additionalGroups
            }
        }

        /// The peer's nonce.
        var nonce: [UInt8] {
            switch self {
            case .child(_, let nonce), .ike(_, _, let nonce): nonce
            }
        }
    }

    /// The further key exchanges of a CREATE_CHILD_SA exchange that was answered (RFC 9370 §2.2.4).
    struct FollowUp {
        let answer: Answer
        /// The secrets of the exchanges that are complete, that of CREATE_CHILD_SA first.
        var secrets: [SecretKey]
        /// The groups of those to come, the one under way included.
        var remaining: [KeyExchangeGroup]
        /// Our key pair of the one under way.
        var keyPair: KeyExchangeKeyPair?
    }

    /// What a CREATE_CHILD_SA request offered.
    struct Offer {
        var tunnel: TunnelPolicy?
        var proposals: [Proposal]
        var nonce: [UInt8]
        var keyPair: KeyExchangeKeyPair?
        var inboundSPI: SPI?
        var ikeSPI: IKESPI?
        var localSelectors: [TrafficSelector] = []
        var remoteSelectors: [TrafficSelector] = []
        var triedGroups: [KeyExchangeGroup] = []
        /// The peer's answer to a first offer without PFS was NO_PROPOSAL_CHOSEN: this one has PFS.
        var addsPFS = false
    }

    let task: Task
    var phase: Phase
    var offer: Offer?
    /// The probe whose message ID an empty message has taken: the peer may have seen it.
    var probe: OutgoingMessage?
    /// The IKE_SA that the peer made by a rekey that crossed ours.
    var rival: (spi: IKESPI, lowestNonce: [UInt8])?
    /// The CHILD_SA that the peer made by a request that crossed ours.
    var rivalChild: UInt32?
    /// What the peer deleted while it was out and we do not know: perhaps what it makes.
    var deletedByPeer: [SPI] = []
    /// The rival, if the peer deleted it before our exchange was complete: it is ours that stays.
    var lostRival: ChildSASnapshot?
    /// What it would make is not wanted any more.
    var isCancelled = false
    /// What the peer's last answer named the next key exchange by (ADDITIONAL_KEY_EXCHANGE).
    var link: [UInt8]?
    var followUp: FollowUp?

    /// True once the peer may have seen the request.
    var isOut: Bool {
        if followUp != nil { return true }
        return if case .preparing = phase { false } else { true }
    }

    /// True once the peer has agreed to what takes further key exchanges.
    var isFollowingUp: Bool {
        if followUp != nil { return true }
        guard case .deriving(_, let answer) = phase else { return false }
        return !answer.additionalGroups.isEmpty
    }

    /// The type of its request at hand.
    var exchangeType: ExchangeType { followUp == nil ? task.exchange : .ikeFollowUpKE }

    var request: OutstandingRequest? {
        if case .requested(let request) = phase { request } else { nil }
    }
}
