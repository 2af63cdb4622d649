/// A key exchange group by its IANA number (Transform Type 4).
public enum KeyExchangeGroup: UInt16, CaseIterable, Sendable {
    /// 768-bit MODP (RFC 7296 appendix B.1): broken, for devices that have nothing else.
    case modp768 = 1
    /// 1024-bit MODP (RFC 7296 appendix B.2).
    case modp1024 = 2
    /// 1536-bit MODP (RFC 3526 §2).
    case modp1536 = 5
    /// 2048-bit MODP (RFC 3526 §3).
    case modp2048 = 14
    /// 3072-bit MODP (RFC 3526 §4).
    case modp3072 = 15
    /// 4096-bit MODP (RFC 3526 §5).
    case modp4096 = 16
    /// 6144-bit MODP (RFC 3526 §6).
    case modp6144 = 17
    /// 8192-bit MODP (RFC 3526 §7).
    case modp8192 = 18
    /// 256-bit random ECP (RFC 5903).
    case ecp256 = 19
    /// 384-bit random ECP (RFC 5903).
    case ecp384 = 20
    /// 521-bit random ECP (RFC 5903).
    case ecp521 = 21
    /// 1024-bit MODP with a subgroup of 160 bits (RFC 5114 §2.1).
    case modp1024s160 = 22
    /// 2048-bit MODP with a subgroup of 224 bits (RFC 5114 §2.2).
    case modp2048s224 = 23
    /// 2048-bit MODP with a subgroup of 256 bits (RFC 5114 §2.3).
    case modp2048s256 = 24
    /// brainpoolP224r1 (RFC 6954).
    case brainpool224 = 27
    /// brainpoolP256r1 (RFC 6954).
    case brainpool256 = 28
    /// brainpoolP384r1 (RFC 6954).
    case brainpool384 = 29
    /// brainpoolP512r1 (RFC 6954).
    case brainpool512 = 30
    /// Curve25519 (RFC 8031).
    case x25519 = 31
    /// Curve448 (RFC 8031).
    case x448 = 32
    /// ML-KEM-768 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    case mlkem768 = 36
    /// ML-KEM-1024 (FIPS 203, draft-ietf-ipsecme-ikev2-mlkem).
    case mlkem1024 = 37

    /// What kind of arithmetic a group is.
    enum Family { case modular, ellipticCurve, curve25519, curve448, moduleLattice }

    var family: Family {
        switch self {
        case .modp768, .modp1024, .modp1536, .modp2048, .modp3072, .modp4096, .modp6144, .modp8192,
            .modp1024s160,
            .modp2048s224, .modp2048s256:
            .modular
        case .ecp256, .ecp384, .ecp521, .brainpool224, .brainpool256, .brainpool384, .brainpool512:
            .ellipticCurve
        case .x25519: .curve25519
        case .x448: .curve448
        case .mlkem768, .mlkem1024: .moduleLattice
        }
    }

    /// Octets of the initiator's Key Exchange Data.
    public var publicValueLength: Int {
        switch family {
        case .modular, .curve25519, .curve448: sharedSecretLength
        case .ellipticCurve: 2 * sharedSecretLength
        case .moduleLattice: self == .mlkem768 ? 1184 : 1568
        }
    }

    /// Octets of the responder's: a ciphertext where the group is a key encapsulation, else a value of the same kind.
    public var answerLength: Int {
        switch self {
        case .mlkem768: 1088
        case .mlkem1024: 1568
        default: publicValueLength
        }
    }

    /// Octets of g^ir.
    public var sharedSecretLength: Int {
        switch self {
        case .modp768: 96
        case .modp1024, .modp1024s160: 128
        case .modp1536: 192
        case .modp2048, .modp2048s224, .modp2048s256: 256
        case .modp3072: 384
        case .modp4096: 512
        case .modp6144: 768
        case .modp8192: 1024
        case .brainpool224: 28
        case .ecp256, .brainpool256, .x25519, .mlkem768, .mlkem1024: 32
        case .ecp384, .brainpool384: 48
        case .x448: 56
        case .brainpool512: 64
        case .ecp521: 66
        }
    }

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .modp768: "MODP_768"
        case .modp1024: "MODP_1024"
        case .modp1536: "MODP_1536"
        case .modp2048: "MODP_2048"
        case .modp3072: "MODP_3072"
        case .modp4096: "MODP_4096"
        case .modp6144: "MODP_6144"
        case .modp8192: "MODP_8192"
        case .ecp256: "ECP_256"
        case .ecp384: "ECP_384"
        case .ecp521: "ECP_521"
        case .modp1024s160: "MODP_1024_160"
        case .modp2048s224: "MODP_2048_224"
        case .modp2048s256: "MODP_2048_256"
        case .brainpool224: "ECP_224_BP"
        case .brainpool256: "ECP_256_BP"
        case .brainpool384: "ECP_384_BP"
        case .brainpool512: "ECP_512_BP"
        case .x25519: "CURVE_25519"
        case .x448: "CURVE_448"
        case .mlkem768: "ML_KEM_768"
        case .mlkem1024: "ML_KEM_1024"
        }
    }
}
