public import Cryptography
import IKEMessages
public import Policy

/// How an AUTH payload carries a signature (RFC 7296 §3.8, RFC 4754, RFC 7427).
public enum SignatureMethod: Hashable, Sendable {
    /// Method 1: RSASSA-PKCS1-v1_5, with SHA-1 unless the signer says otherwise, which it cannot.
    case rsa
    /// Methods 9, 10 and 11: ECDSA on the curve of so many bits, with the hash that belongs to it.
    case ecdsa(bits: Int)
    /// Method 14: the algorithm stands before the signature.
    case named(SignatureScheme)

    /// Auth Methods that are signatures.
    public static let numbers: Set<UInt8> = [1, 9, 10, 11, 14]

    /// The Auth Method.
    public var number: UInt8 {
        switch self {
        case .rsa: 1
        case .ecdsa(256): 9
        case .ecdsa(384): 10
        case .ecdsa: 11
        case .named: 14
        }
    }

    /// The one that a key of ours signs by; nil when the peer understands none of them.
    ///
    /// - Parameter hashes: the peer's SIGNATURE_HASH_ALGORITHMS; nil when it sent none.
    public init?(for key: PrivateKeyInfo, hashes: Set<UInt16>?, constraint: SignatureConstraint) {
        guard let hashes else {
            switch key.algorithm {
            case .rsa: self = .rsa
            case .ecdsa where [256, 384, 521].contains(key.bits): self = .ecdsa(bits: key.bits)
            case .ecdsa, .ed25519, .ed448: return nil
            }
            return
        }
        switch key.algorithm {
        case .ed25519, .ed448:
            guard hashes.contains(SignatureHash.identity) else { return nil }
            self = .named(key.algorithm == .ed25519 ? .ed25519 : .ed448)
        case .rsa, .ecdsa:
            let wanted = constraint.hashes.isEmpty ? Self.hashes(for: key) : constraint.hashes
            guard let hash = wanted.first(where: { hashes.contains($0.rawValue) }) else { return nil }
            if key.algorithm == .ecdsa {
                self = .named(.ecdsa(hash))
            } else if constraint.usesPSS == true {
                self = .named(.rsaPSS(hash, saltLength: hash.outputLength))
            } else {
                self = .named(.rsaPKCS1(hash))
            }
        }
    }

    /// The hashes for a key, the one of its own strength first (RFC 5480 §4, SP 800-57).
    private static func hashes(for key: PrivateKeyInfo) -> [SignatureHash] {
        let isSmall = key.algorithm == .rsa ? key.bits < 3072 : key.bits <= 256
        let isLarge = key.algorithm == .rsa ? key.bits >= 7680 : key.bits > 384
        if isSmall { return [.sha256, .sha384, .sha512] }
        return isLarge ? [.sha512, .sha384, .sha256] : [.sha384, .sha512, .sha256]
    }

    /// Octets of a number of the curve.
    static func width(_ bits: Int) -> Int { (bits + 7) / 8 }

    static func hash(_ bits: Int) -> SignatureHash {
        switch bits {
        case 256: .sha256
        case 384: .sha384
        default: .sha512
        }
    }

    /// The AUTH payload for what `key` signs.
    func sign(_ octets: [UInt8], _ key: PrivateKeyInfo) throws(CryptoError) -> AUTHPayload {
        switch self {
        case .rsa: return AUTHPayload(method: number, data: try key.sign(octets, by: .rsaPKCS1(.sha1)))
        case .ecdsa(let bits):
            let signature = try key.sign(octets, by: .ecdsa(Self.hash(bits)))
            guard let plain = PlainECDSASignature.plain(signature, width: Self.width(bits)) else {
                throw .invalidLength
            }
            return AUTHPayload(method: number, data: plain)
        case .named(let scheme):
            let name = scheme.identifier
            return AUTHPayload(
                method: number,
                data: [UInt8(truncatingIfNeeded: name.count)] + name + (try key.sign(octets, by: scheme))
            )
        }
    }
}

/// A signature in an AUTH payload, taken apart.
struct ReceivedSignature {
    /// The schemes that it may have been made by: the payload of method 1 does not say.
    let schemes: [SignatureScheme]
    let signature: [UInt8]
    /// The bits of the curve that the method names.
    let curveBits: Int?

    /// Why the payload cannot be checked.
    struct Unreadable: Error {
        let text: String
    }

    init(_ payload: AUTHPayload) throws(Unreadable) {
        switch payload.method {
        case 1:
            schemes = [SignatureHash.sha1, .sha256, .sha384, .sha512].map { .rsaPKCS1($0) }
            signature = payload.data
            curveBits = nil
        case 9, 10, 11:
            let bits = [9: 256, 10: 384, 11: 521][payload.method] ?? 0
            let width = SignatureMethod.width(bits)
            guard let encoded = PlainECDSASignature.encoded(payload.data, width: width) else {
                throw Unreadable(
                    text: "its ECDSA signature has \(payload.data.count) octets, not \(2 * width)"
                )
            }
            schemes = [.ecdsa(SignatureMethod.hash(bits))]
            signature = encoded
            curveBits = bits
        case 14:
            guard let length = payload.data.first, payload.data.count > Int(length) + 1 else {
                throw Unreadable(text: "its signature names no algorithm")
            }
            let name = Array(payload.data[1..<1 + Int(length)])
            guard let scheme = SignatureScheme(identifier: name) else {
                throw Unreadable(text: "it signs by an algorithm that is not known here")
            }
            // RFC 7427 §4: SHA-1 is never among what we say we accept.
            guard scheme.hash != .sha1 else { throw Unreadable(text: "it signs with SHA-1") }
            schemes = [scheme]
            signature = Array(payload.data[(1 + Int(length))...])
            curveBits = nil
        default: throw Unreadable(text: "it authenticates by method \(payload.method)")
        }
    }

    /// The scheme by which it is a signature of `key`'s over `octets`; nil when it is none.
    func scheme(_ key: PublicKeyInfo, over octets: [UInt8]) -> SignatureScheme? {
        if let curveBits, key.algorithm != .ecdsa || key.bits != curveBits { return nil }
        return schemes.first { key.isValid(signature, over: octets, by: $0) }
    }
}
