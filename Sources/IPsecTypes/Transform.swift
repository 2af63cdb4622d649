public import Cryptography

/// The kind of algorithm that a transform names (RFC 7296 §3.3.2).
public enum TransformType: Hashable, Sendable {
    /// ENCR, 1.
    case encryption
    /// PRF, 2.
    case prf
    /// INTEG, 3.
    case integrity
    /// KE (Diffie-Hellman group), 4.
    case keyExchange
    /// ESN, 5.
    case esn
    /// ADDKE1 to ADDKE7, 6 to 12: a further key exchange after the first one (RFC 9370 §2.2.1).
    case additionalKeyExchange(UInt8)
    /// A type that we do not know; a proposal that holds one is not acceptable (RFC 7296 §3.3.6).
    case unknown(UInt8)

    /// The kind of this wire number.
    public init(_ number: UInt8) {
        switch number {
        case 1: self = .encryption
        case 2: self = .prf
        case 3: self = .integrity
        case 4: self = .keyExchange
        case 5: self = .esn
        case 6...12: self = .additionalKeyExchange(number - 5)
        default: self = .unknown(number)
        }
    }

    /// The wire number.
    public var number: UInt8 {
        switch self {
        case .encryption: 1
        case .prf: 2
        case .integrity: 3
        case .keyExchange: 4
        case .esn: 5
        case .additionalKeyExchange(let index): min(index, 7) + 5
        case .unknown(let number): number
        }
    }

    /// ADDKE1 to ADDKE7, in the order of their exchanges.
    public static let additionalKeyExchanges: [TransformType] = (1...7).map { .additionalKeyExchange($0) }
    /// All that a proposal may hold, in the order in which we write it.
    public static let known: [TransformType] =
        [.encryption, .prf, .integrity, .keyExchange, .esn] + additionalKeyExchanges

    /// True for the first key exchange and all further ones.
    public var isKeyExchange: Bool {
        switch self {
        case .keyExchange, .additionalKeyExchange: true
        case .encryption, .prf, .integrity, .esn, .unknown: false
        }
    }
}

/// One algorithm of a proposal, as on the wire.
public struct Transform: Hashable, Sendable, CustomStringConvertible {
    /// What it is for.
    public let type: TransformType
    /// IANA's Transform ID.
    public let id: UInt16
    /// The Key Length attribute in bits (RFC 7296 §3.3.5).
    public let keyBits: UInt16?
    /// True when an attribute other than Key Length was present: such a transform is not acceptable (§3.3.6).
    public let hasUnknownAttribute: Bool

    /// Makes a transform.
    public init(
        _ type: TransformType,
        _ id: UInt16,
        keyBits: UInt16? = nil,
        hasUnknownAttribute: Bool = false
    ) {
        self.type = type
        self.id = id
        self.keyBits = keyBits
        self.hasUnknownAttribute = hasUnknownAttribute
    }

    /// The name as strongSwan prints it, with the key size: `AES_GCM_16_256`, `ECP_384`.
    public var description: String {
        guard let entry = AlgorithmTable.entry(for: self) else {
            return "(\(type.number))\(id)" + (keyBits.map { "_\($0)" } ?? "")
        }
        if case .additionalKeyExchange(let index) = type {
            return "KE\(index)_" + (id == 0 ? "NONE" : entry.name)
        }
        return entry.name + (keyBits.map { "_\($0)" } ?? "")
    }

    /// "No Extended Sequence Numbers".
    public static let noESN = Transform(.esn, 0)
    /// "Extended Sequence Numbers".
    public static let esn = Transform(.esn, 1)
}

/// The protocol of a proposal, a DELETE or a notification (RFC 7296 §3.3.1).
public enum SecurityProtocol: Hashable, Sendable {
    /// Not about an SA, or about the IKE_SA at hand.
    case none
    /// IKE, 1.
    case ike
    /// AH, 2; never accepted by us.
    case ah
    /// ESP, 3.
    case esp
    /// A number that we do not know.
    case unknown(UInt8)

    /// The protocol of this wire number.
    public init(_ number: UInt8) {
        switch number {
        case 0: self = .none
        case 1: self = .ike
        case 2: self = .ah
        case 3: self = .esp
        default: self = .unknown(number)
        }
    }

    /// The wire number.
    public var number: UInt8 {
        switch self {
        case .none: 0
        case .ike: 1
        case .ah: 2
        case .esp: 3
        case .unknown(let number): number
        }
    }
}

/// One proposal of an SA payload: for each type one of the listed transforms must be chosen (RFC 7296 §3.3).
public struct Proposal: Hashable, Sendable, CustomStringConvertible {
    /// Its number in the SA payload, from 1.
    public var number: UInt8
    /// IKE or ESP.
    public var securityProtocol: SecurityProtocol
    /// The sender's SPI: empty in IKE_SA_INIT, 8 octets for an IKE rekey, 4 for ESP.
    public var spi: [UInt8]
    /// All transforms in order of preference within their type.
    public var transforms: [Transform]

    /// Makes a proposal.
    public init(
        number: UInt8 = 1,
        securityProtocol: SecurityProtocol,
        spi: [UInt8] = [],
        transforms: [Transform]
    ) {
        self.number = number
        self.securityProtocol = securityProtocol
        self.spi = spi
        self.transforms = transforms
    }

    /// The transforms of one type, in order.
    public func transforms(of type: TransformType) -> [Transform] {
        transforms.filter { $0.type == type }
    }

    /// The first transform of one type: the chosen one, in an accepted proposal.
    public func transform(of type: TransformType) -> Transform? {
        transforms.first { $0.type == type }
    }

    /// The groups of the further key exchanges of a chosen proposal, in their order; NONE is left out.
    public var additionalGroups: [KeyExchangeGroup] {
        TransformType.additionalKeyExchanges.compactMap { transform(of: $0)?.keyExchangeGroup }
    }

    /// As strongSwan prints it: `IKE:AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384`.
    public var description: String {
        let name =
            switch securityProtocol {
            case .ike: "IKE"
            case .esp: "ESP"
            case .ah: "AH"
            case .none: "NONE"
            case .unknown(let number): "(\(number))"
            }
        return name + ":" + transforms.map { $0.description }.joined(separator: "/")
    }
}
