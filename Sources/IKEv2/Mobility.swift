import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives

/// What an IKE_SA whose ends may move has to know (MOBIKE, RFC 4555); there is none unless both ends agreed on it.
struct Mobility {
    /// We began the first IKE_SA of the series: we decide which addresses are used (§2).
    let isOriginalInitiator: Bool
    /// Where the peer can be reached too (§3.4).
    var peerAddresses: [IPAddress] = []
    /// What we told the peer of ours.
    var announced: [IPAddress] = []
    /// COOKIE2 of the request under way.
    var cookie: [UInt8]?
    /// The addresses changed again while a request about them was out: its response says nothing (§3.5).
    var isOutdated = false
    /// The request under way went over other paths too: the one that is answered works.
    var isProbing = false
    /// The hash of our address as the peer last saw it (§3.8).
    var seenHash: [UInt8]?
    /// This very IKE_SA changed its path.
    var hasMoved = false
    /// Answers UNEXPECTED_NAT_DETECTED in a row.
    var unexpectedNATs = 0

    /// Addresses of the peer that are kept, and of ours that are told.
    static let maximumAddresses = 8
    /// How often an update that a NAT seems to have changed is sent again (§3.9).
    static let natRetries = 4

    /// What both IKE_AUTH messages agreed on.
    init?(_ connection: ConnectionPolicy, _ payloads: [Payload], isOriginalInitiator: Bool) {
        guard connection.mobike, payloads.notification(.mobikeSupported) != nil else { return nil }
        self.isOriginalInitiator = isOriginalInitiator
        if let addresses = Self.addresses(in: payloads) { peerAddresses = addresses }
    }

    /// The list that a message holds; nil if it says nothing of addresses.
    static func addresses(in payloads: [Payload]) -> [IPAddress]? {
        var list: [IPAddress]?
        for notify in payloads.notifications {
            switch notify.type {
            case .noAdditionalAddresses: list = list ?? []
            case .additionalIP4Address, .additionalIP6Address:
                list = list ?? []
                let length = notify.type == .additionalIP4Address ? 4 : 16
                guard notify.data.count == length, let address = IPAddress(octets: notify.data),
                    address.isRoutedUnicast, (list ?? []).count < maximumAddresses,
                    list?.contains(address) == false
                else { continue }
                list?.append(address)
            default: break
            }
        }
        return list
    }

    /// Our other addresses for the peer, in a message of their own or within another.
    static func notifications(_ addresses: [IPAddress], saysNone: Bool) -> [Payload] {
        if addresses.isEmpty { return saysNone ? [.notify(NotifyPayload(.noAdditionalAddresses))] : [] }
        return addresses.map { address in
            let type: NotifyType = address.bitWidth == 32 ? .additionalIP4Address : .additionalIP6Address
            return .notify(NotifyPayload(type, data: address.octets))
        }
    }

    /// Source and destination as we see them, for a peer that knows no NAT traversal (§3.9).
    static func noNATsAllowed(_ common: SACommon) -> NotifyPayload {
        let ports = [common.local.port, common.remote.port].flatMap {
            [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)]
        }
        return NotifyPayload(
            .noNATsAllowed,
            data: common.local.address.octets + common.remote.address.octets + ports
        )
    }

    /// True if a NO_NATS_ALLOWED of the peer does not say what the datagram does.
    static func findsNAT(_ payloads: [Payload], _ datagram: IKEDatagram) -> Bool {
        guard let notify = payloads.notification(.noNATsAllowed) else { return false }
        let ports = [datagram.remote.port, datagram.local.port].flatMap {
            [UInt8(truncatingIfNeeded: $0 >> 8), UInt8(truncatingIfNeeded: $0)]
        }
        return notify.data != datagram.remote.address.octets + datagram.local.address.octets + ports
    }
}

extension ConnectionPolicy {
    /// What our IKE_AUTH message says of MOBIKE.
    func mobikeNotifications(
        _ common: SACommon,
        _ nat: NATDetection,
        isRequest: Bool,
        _ context: EngineContext
    ) -> [Payload] {
        guard mobike else { return [] }
        var payloads: [Payload] = [.notify(NotifyPayload(.mobikeSupported))]
        payloads += Mobility.notifications(otherAddresses(common, context), saysNone: false)
        if isRequest, !nat.isSupported { payloads.append(.notify(Mobility.noNATsAllowed(common))) }
        return payloads
    }

    /// Our addresses besides the one in use.
    func otherAddresses(_ common: SACommon, _ context: EngineContext) -> [IPAddress] {
        let own = context.localAddresses.filter { address in
            address != common.local.address
                && (localAddresses.isEmpty || localAddresses.contains(address))
        }
        return Array(own.prefix(Mobility.maximumAddresses))
    }
}
