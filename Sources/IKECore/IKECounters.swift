/// What an engine counts, under strongSwan's names and in its order.
public enum IKECounter: String, Hashable, Sendable, CaseIterable {
    /// IKE_SAs that we replaced.
    case ikeRekeyInitiated = "ike-rekey-init"
    /// IKE_SAs that the peer replaced.
    case ikeRekeyAnswered = "ike-rekey-resp"
    /// CHILD_SAs that were replaced.
    case childRekey = "child-rekey"
    /// Messages that cannot be read.
    case invalid
    /// Messages for an IKE_SA that we do not have.
    case invalidSPI = "invalid-spi"
    /// IKE_SA_INIT requests received.
    case initInRequest = "ike-init-in-req"
    /// IKE_SA_INIT responses received.
    case initInResponse = "ike-init-in-resp"
    /// IKE_SA_INIT requests sent.
    case initOutRequest = "ike-init-out-req"
    /// IKE_SA_INIT responses sent.
    case initOutResponse = "ike-init-out-resp"
    /// IKE_AUTH requests received.
    case authInRequest = "ike-auth-in-req"
    /// IKE_AUTH responses received.
    case authInResponse = "ike-auth-in-resp"
    /// IKE_AUTH requests sent.
    case authOutRequest = "ike-auth-out-req"
    /// IKE_AUTH responses sent.
    case authOutResponse = "ike-auth-out-resp"
    /// CREATE_CHILD_SA requests received.
    case createChildInRequest = "create-child-in-req"
    /// CREATE_CHILD_SA responses received.
    case createChildInResponse = "create-child-in-resp"
    /// CREATE_CHILD_SA requests sent.
    case createChildOutRequest = "create-child-out-req"
    /// CREATE_CHILD_SA responses sent.
    case createChildOutResponse = "create-child-out-resp"
    /// INFORMATIONAL requests received.
    case infoInRequest = "info-in-req"
    /// INFORMATIONAL responses received.
    case infoInResponse = "info-in-resp"
    /// INFORMATIONAL requests sent.
    case infoOutRequest = "info-out-req"
    /// INFORMATIONAL responses sent.
    case infoOutResponse = "info-out-resp"

    /// The counter of a message by its header (RFC 7296 §3.1); nil for other exchanges and for what is too short.
    public init?(message octets: [UInt8], isOutgoing: Bool) {
        guard octets.count >= 28 else { return nil }
        let isResponse = octets[19] & 0x20 != 0
        let four: [IKECounter]
        switch octets[18] {
        case 34: four = [.initInRequest, .initInResponse, .initOutRequest, .initOutResponse]
        case 35: four = [.authInRequest, .authInResponse, .authOutRequest, .authOutResponse]
        case 36:
            four = [
                .createChildInRequest, .createChildInResponse, .createChildOutRequest,
                .createChildOutResponse,
            ]
        case 37: four = [.infoInRequest, .infoInResponse, .infoOutRequest, .infoOutResponse]
        default: return nil
        }
        self = four[(isOutgoing ? 2 : 0) + (isResponse ? 1 : 0)]
    }
}

/// Counts of all connections together and of each.
///
/// As in strongSwan a message counts once, when it was taken or made: retransmissions do not. One of a peer whose
/// connection is not known yet counts in the sum alone.
public struct IKECounters: Sendable {
    /// The sum.
    public private(set) var total: [IKECounter: UInt64] = [:]
    /// By connection; only configured ones have an entry.
    public private(set) var byConnection: [String: [IKECounter: UInt64]] = [:]

    /// Starts at zero.
    public init() {}

    /// Counts one.
    public mutating func count(_ counter: IKECounter, of connection: String?) {
        total[counter, default: 0] &+= 1
        guard let connection, !connection.isEmpty else { return }
        byConnection[connection, default: [:]][counter, default: 0] &+= 1
    }

    /// Forgets the sum, or what was counted of one connection.
    public mutating func reset(_ connection: String?) {
        if let connection { byConnection[connection] = nil } else { total = [:] }
    }

    /// Forgets what was counted of single connections.
    public mutating func resetConnections() { byConnection = [:] }

    /// Forgets connections of which `isKept` does not hold: their number stays within that of the configuration.
    public mutating func keep(_ isKept: (String) -> Bool) {
        byConnection = byConnection.filter { isKept($0.key) }
    }
}
