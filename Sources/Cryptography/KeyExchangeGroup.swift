/// A key exchange group by its IANA number (Transform Type 4).
public enum KeyExchangeGroup: UInt16, CaseIterable, Sendable {
    /// 2048-bit MODP (RFC 3526 §3).
    case modp2048 = 14
    /// 3072-bit MODP (RFC 3526 §4).
    case modp3072 = 15
    /// 4096-bit MODP (RFC 3526 §5).
    case modp4096 = 16
    /// 256-bit random ECP (RFC 5903).
    case ecp256 = 19
    /// 384-bit random ECP (RFC 5903).
    case ecp384 = 20
    /// 521-bit random ECP (RFC 5903).
    case ecp521 = 21
    /// Curve25519 (RFC 8031).
    case x25519 = 31

    /// Octets of the Key Exchange Data on the wire.
    public var publicValueLength: Int {
        switch self {
        case .modp2048, .modp3072, .modp4096, .x25519: sharedSecretLength
        case .ecp256, .ecp384, .ecp521: 2 * sharedSecretLength
        }
    }

    /// Octets of g^ir.
    public var sharedSecretLength: Int {
        switch self {
        case .modp2048: 256
        case .modp3072: 384
        case .modp4096: 512
        case .ecp256: 32
        case .ecp384: 48
        case .ecp521: 66
        case .x25519: 32
        }
    }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .modp2048: "MODP_2048"
        case .modp3072: "MODP_3072"
        case .modp4096: "MODP_4096"
        case .ecp256: "ECP_256"
        case .ecp384: "ECP_384"
        case .ecp521: "ECP_521"
        case .x25519: "CURVE_25519"
        }
    }
}
