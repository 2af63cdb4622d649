/// A method of authentication that is carried out here.
public enum EAPMethod: UInt8, Hashable, Sendable, CaseIterable {
    /// MD5-Challenge (RFC 3748 §5.4): proves the peer alone, makes no key.
    case md5 = 4
    /// Generic Token Card (RFC 3748 §5.6): the secret itself, readable for the server; makes no key.
    case gtc = 6
    /// EAP-TLS (RFC 5216, RFC 9190): both ends by certificates.
    case tls = 13
    /// EAP-MSCHAPv2 (RFC 2759; draft-kamath-pppext-eap-mschapv2): both ends by the password.
    case mschapv2 = 26

    /// As configurations name it.
    public var name: String {
        switch self {
        case .md5: "md5"
        case .gtc: "gtc"
        case .tls: "tls"
        case .mschapv2: "mschapv2"
        }
    }

    /// The method of a name, case aside.
    public init?(name: String) {
        let folded = name.lowercased()
        guard let method = Self.allCases.first(where: { $0.name == folded }) else { return nil }
        self = method
    }

    /// It may prove an IKE responder that proves itself by nothing else (RFC 5998 §4): mutual, with a key, and no guess at a
    /// password is possible for who watches or poses as the server.
    public var mayProveServerAlone: Bool { self == .tls }
}

/// Types of requests and responses that are no method (RFC 3748 §5).
enum EAPType {
    static let identity: UInt8 = 1
    static let notification: UInt8 = 2
    static let nak: UInt8 = 3
    /// §5.7: a vendor's number and type follow.
    static let expanded: UInt8 = 254
}
