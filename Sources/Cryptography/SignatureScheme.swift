import Primitives

/// How a signature in an AUTH payload is made (RFC 7427 §3 and appendix A, RFC 7296 §3.8, RFC 4754).
public enum SignatureScheme: Hashable, Sendable {
    /// RSASSA-PKCS1-v1_5.
    case rsaPKCS1(SignatureHash)
    /// RSASSA-PSS with MGF1 of the same hash and so many octets of salt.
    case rsaPSS(SignatureHash, saltLength: Int)
    /// ECDSA; the signature is a SEQUENCE of two numbers.
    case ecdsa(SignatureHash)
    /// Ed25519 (RFC 8420).
    case ed25519
    /// Ed448 (RFC 8420).
    case ed448

    /// The kind of key that it takes.
    public var algorithm: SignatureKeyAlgorithm {
        switch self {
        case .rsaPKCS1, .rsaPSS: .rsa
        case .ecdsa: .ecdsa
        case .ed25519: .ed25519
        case .ed448: .ed448
        }
    }

    /// The hash that the message goes through before; nil where the algorithm has its own.
    public var hash: SignatureHash? {
        switch self {
        case .rsaPKCS1(let hash), .rsaPSS(let hash, _), .ecdsa(let hash): hash
        case .ed25519, .ed448: nil
        }
    }
}

/// The hashes of SIGNATURE_HASH_ALGORITHMS (RFC 7427 §4); the numbers are IANA's.
public enum SignatureHash: UInt16, Hashable, Sendable, CaseIterable {
    /// SHA-1: for peers without RFC 7427 alone.
    case sha1 = 1
    /// SHA2-256.
    case sha256 = 2
    /// SHA2-384.
    case sha384 = 3
    /// SHA2-512.
    case sha512 = 4

    /// The number of "Identity", which stands for algorithms that hash by themselves (RFC 8420).
    public static let identity: UInt16 = 5

    /// Octets of its output.
    public var outputLength: Int { function.outputLength }

    var function: HashFunction {
        switch self {
        case .sha1: .sha1
        case .sha256: .sha256
        case .sha384: .sha384
        case .sha512: .sha512
        }
    }

    /// The contents of its object identifier.
    fileprivate var identifier: [UInt8] {
        switch self {
        case .sha1: [0x2b, 0x0e, 0x03, 0x02, 0x1a]
        case .sha256: Self.nist + [0x01]
        case .sha384: Self.nist + [0x02]
        case .sha512: Self.nist + [0x03]
        }
    }

    private static let nist: [UInt8] = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02]
}

// MARK: - AlgorithmIdentifier

extension SignatureScheme {
    private static let pkcs1: [UInt8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01]
    private static let x962: [UInt8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04]
    private static let mgf1 = pkcs1 + [0x08]
    private static let pss = pkcs1 + [0x0a]
    private static let null: [UInt8] = [0x05, 0x00]

    /// The AlgorithmIdentifier in DER, as the AUTH payload of method 14 begins with it.
    public var identifier: [UInt8] {
        switch self {
        case .rsaPKCS1(let hash):
            DER.sequence([DER.object(Self.pkcs1 + [Self.pkcs1Number(hash)]), Self.null])
        case .rsaPSS(let hash, let saltLength):
            DER.sequence([DER.object(Self.pss), Self.parameters(hash, saltLength)])
        case .ecdsa(let hash): DER.sequence([DER.object(Self.x962 + Self.x962Number(hash))])
        case .ed25519: DER.sequence([DER.object([0x2b, 0x65, 0x70])])
        case .ed448: DER.sequence([DER.object([0x2b, 0x65, 0x71])])
        }
    }

    /// Reads an AlgorithmIdentifier; nil for one that is unknown or malformed.
    public init?(identifier octets: [UInt8]) {
        let plain = SignatureHash.allCases.flatMap { [SignatureScheme.rsaPKCS1($0), .ecdsa($0)] }
        if let known = (plain + [.ed25519, .ed448]).first(where: { $0.identifier == octets }) {
            self = known
            return
        }
        var outer = DERReader(octets)
        guard var body = outer.element(0x30), outer.isAtEnd, let name = body.octets(0x06) else { return nil }
        // RFC 4055 §5: NULL should be there, and is missing at times.
        if body.isAtEnd,
            let hash = SignatureHash.allCases.first(where: {
                name == Self.pkcs1 + [Self.pkcs1Number($0)]
            })
        {
            self = .rsaPKCS1(hash)
            return
        }
        guard name == Self.pss, let scheme = Self.pss(&body) else { return nil }
        self = scheme
    }

    private static func pkcs1Number(_ hash: SignatureHash) -> UInt8 {
        switch hash {
        case .sha1: 0x05
        case .sha256: 0x0b
        case .sha384: 0x0c
        case .sha512: 0x0d
        }
    }

    private static func x962Number(_ hash: SignatureHash) -> [UInt8] {
        switch hash {
        case .sha1: [0x01]
        case .sha256: [0x03, 0x02]
        case .sha384: [0x03, 0x03]
        case .sha512: [0x03, 0x04]
        }
    }

    /// RSASSA-PSS-params (RFC 4055 §3.1).
    private static func parameters(_ hash: SignatureHash, _ saltLength: Int) -> [UInt8] {
        let name = DER.sequence([DER.object(hash.identifier), null])
        let generator = DER.sequence([DER.object(mgf1), name])
        let salt: [UInt8] = [0x02, 0x01, UInt8(clamping: saltLength)]
        return DER.sequence([DER.tagged(0xa0, name), DER.tagged(0xa1, generator), DER.tagged(0xa2, salt)])
    }

    /// The parameters that follow the name; what is left out is SHA-1 with 20 octets of salt.
    private static func pss(_ body: inout DERReader) -> SignatureScheme? {
        var hash = SignatureHash.sha1
        var mask = SignatureHash.sha1
        var saltLength = 20
        guard var list = body.element(0x30), body.isAtEnd else { return nil }
        if var part = list.element(0xa0) {
            guard let named = named(&part), part.isAtEnd else { return nil }
            hash = named
        }
        if var part = list.element(0xa1) {
            guard var generator = part.element(0x30), part.isAtEnd, generator.octets(0x06) == mgf1,
                let named = named(&generator), generator.isAtEnd
            else { return nil }
            mask = named
        }
        if var part = list.element(0xa2) {
            guard let length = part.octets(0x02), part.isAtEnd, length.count == 1, length[0] < 128 else {
                return nil
            }
            saltLength = Int(length[0])
        }
        if var part = list.element(0xa3) {
            guard part.octets(0x02) == [1], part.isAtEnd else { return nil }
        }
        // Two hashes, or a salt longer than any hash, are nobody's.
        guard list.isAtEnd, hash == mask, saltLength <= 64 else { return nil }
        return .rsaPSS(hash, saltLength: saltLength)
    }

    private static func named(_ reader: inout DERReader) -> SignatureHash? {
        guard var body = reader.element(0x30), let name = body.octets(0x06) else { return nil }
        guard body.isAtEnd || body.octets(0x05)?.isEmpty == true && body.isAtEnd else { return nil }
        return SignatureHash.allCases.first { $0.identifier == name }
    }
}

/// Writes what an AlgorithmIdentifier is made of: no element is longer than 127 octets.
enum DER {
    static func tagged(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
        [tag, UInt8(clamping: content.count)] + content
    }

    static func sequence(_ parts: [[UInt8]]) -> [UInt8] { tagged(0x30, parts.flatMap { $0 }) }

    static func object(_ identifier: [UInt8]) -> [UInt8] { tagged(0x06, identifier) }
}

/// Reads elements with short or one- and two-octet lengths, which is all that a header of ours needs.
struct DERReader {
    private var rest: ArraySlice<UInt8>

    init(_ octets: [UInt8]) { rest = octets[...] }

    private init(_ rest: ArraySlice<UInt8>) { self.rest = rest }

    var isAtEnd: Bool { rest.isEmpty }

    /// The content of the next element if it has this tag; else nothing is taken.
    mutating func element(_ tag: UInt8) -> DERReader? {
        guard rest.count >= 2, rest.first == tag else { return nil }
        var after = rest.dropFirst()
        guard let first = after.popFirst() else { return nil }
        var length = Int(first)
        if first >= 0x80 {
            let count = Int(first & 0x7f)
            guard (1...2).contains(count), after.count >= count else { return nil }
            length = after.prefix(count).reduce(0) { $0 << 8 | Int($1) }
            after = after.dropFirst(count)
            // DER has one way to write a length.
            guard length >= 0x80, count == 1 || length > 0xff else { return nil }
        }
        guard after.count >= length else { return nil }
        let content = DERReader(after.prefix(length))
        rest = after.dropFirst(length)
        return content
    }

    /// The octets of the next element if it has this tag.
    mutating func octets(_ tag: UInt8) -> [UInt8]? { element(tag).map { Array($0.rest) } }
}
