/// The message types of notifications that we give or understand (RFC 7296 §3.10.1).
public enum NotifyType: Hashable, Sendable, CustomStringConvertible {
    /// 1.
    case unsupportedCriticalPayload
    /// 4.
    case invalidIKESPI
    /// 5.
    case invalidMajorVersion
    /// 7.
    case invalidSyntax
    /// 9.
    case invalidMessageID
    /// 11.
    case invalidSPI
    /// 14.
    case noProposalChosen
    /// 17.
    case invalidKEPayload
    /// 24.
    case authenticationFailed
    /// 34.
    case singlePairRequired
    /// 35.
    case noAdditionalSAs
    /// 36.
    case internalAddressFailure
    /// 37.
    case failedCPRequired
    /// 38.
    case tsUnacceptable
    /// 39.
    case invalidSelectors
    /// 40, RFC 4555.
    case unacceptableAddresses
    /// 41, RFC 4555.
    case unexpectedNATDetected
    /// 43.
    case temporaryFailure
    /// 44.
    case childSANotFound
    /// 47, RFC 9370.
    case stateNotFound
    /// 48, RFC 9611.
    case tsMaxQueue
    /// 16384.
    case initialContact
    /// 16385.
    case setWindowSize
    /// 16386.
    case additionalTSPossible
    /// 16387.
    case ipcompSupported
    /// 16388.
    case natDetectionSourceIP
    /// 16389.
    case natDetectionDestinationIP
    /// 16390.
    case cookie
    /// 16391.
    case useTransportMode
    /// 16393.
    case rekeySA
    /// 16394.
    case espTFCPaddingNotSupported
    /// 16396, RFC 4555.
    case mobikeSupported
    /// 16397, RFC 4555.
    case additionalIP4Address
    /// 16398, RFC 4555.
    case additionalIP6Address
    /// 16399, RFC 4555.
    case noAdditionalAddresses
    /// 16400, RFC 4555.
    case updateSAAddresses
    /// 16401, RFC 4555.
    case cookie2
    /// 16402, RFC 4555.
    case noNATsAllowed
    /// 16403, RFC 4478.
    case authLifetime
    /// 16406, RFC 5685.
    case redirectSupported
    /// 16407, RFC 5685.
    case redirect
    /// 16408, RFC 5685.
    case redirectedFrom
    /// 16418, RFC 6023.
    case childlessSupported
    /// 16430, RFC 7383.
    case fragmentationSupported
    /// 16431, RFC 7427.
    case signatureHashAlgorithms
    /// 16438, RFC 9242.
    case intermediateExchangeSupported
    /// 16392.
    case httpCertLookupSupported
    /// 16404, RFC 4739.
    case multipleAuthSupported
    /// 16405, RFC 4739.
    case anotherAuthFollows
    /// 16417, RFC 5998.
    case eapOnlyAuthentication
    /// 16435, RFC 8784.
    case usePPK
    /// 16436, RFC 8784.
    case ppkIdentity
    /// 16437, RFC 8784.
    case noPPKAuth
    /// 16441, RFC 9370.
    case additionalKeyExchange
    /// 16444, RFC 9611.
    case saResourceInfo
    /// Any other number.
    case unknown(UInt16)

    private static let table: [(UInt16, NotifyType, String)] = [
        (1, .unsupportedCriticalPayload, "UNSUPPORTED_CRITICAL_PAYLOAD"),
        (4, .invalidIKESPI, "INVALID_IKE_SPI"),
        (5, .invalidMajorVersion, "INVALID_MAJOR_VERSION"),
        (7, .invalidSyntax, "INVALID_SYNTAX"),
        (9, .invalidMessageID, "INVALID_MESSAGE_ID"),
        (11, .invalidSPI, "INVALID_SPI"),
        (14, .noProposalChosen, "NO_PROPOSAL_CHOSEN"),
        (17, .invalidKEPayload, "INVALID_KE_PAYLOAD"),
        (24, .authenticationFailed, "AUTHENTICATION_FAILED"),
        (34, .singlePairRequired, "SINGLE_PAIR_REQUIRED"),
        (35, .noAdditionalSAs, "NO_ADDITIONAL_SAS"),
        (36, .internalAddressFailure, "INTERNAL_ADDRESS_FAILURE"),
        (37, .failedCPRequired, "FAILED_CP_REQUIRED"),
        (38, .tsUnacceptable, "TS_UNACCEPTABLE"),
        (39, .invalidSelectors, "INVALID_SELECTORS"),
        (40, .unacceptableAddresses, "UNACCEPTABLE_ADDRESSES"),
        (41, .unexpectedNATDetected, "UNEXPECTED_NAT_DETECTED"),
        (43, .temporaryFailure, "TEMPORARY_FAILURE"),
        (44, .childSANotFound, "CHILD_SA_NOT_FOUND"),
        (47, .stateNotFound, "STATE_NOT_FOUND"),
        (48, .tsMaxQueue, "TS_MAX_QUEUE"),
        (16384, .initialContact, "INITIAL_CONTACT"),
        (16385, .setWindowSize, "SET_WINDOW_SIZE"),
        (16386, .additionalTSPossible, "ADDITIONAL_TS_POSSIBLE"),
        (16387, .ipcompSupported, "IPCOMP_SUPPORTED"),
        (16388, .natDetectionSourceIP, "NAT_DETECTION_SOURCE_IP"),
        (16389, .natDetectionDestinationIP, "NAT_DETECTION_DESTINATION_IP"),
        (16390, .cookie, "COOKIE"),
        (16391, .useTransportMode, "USE_TRANSPORT_MODE"),
        (16393, .rekeySA, "REKEY_SA"),
        (16394, .espTFCPaddingNotSupported, "ESP_TFC_PADDING_NOT_SUPPORTED"),
        (16396, .mobikeSupported, "MOBIKE_SUPPORTED"),
        (16397, .additionalIP4Address, "ADDITIONAL_IP4_ADDRESS"),
        (16398, .additionalIP6Address, "ADDITIONAL_IP6_ADDRESS"),
        (16399, .noAdditionalAddresses, "NO_ADDITIONAL_ADDRESSES"),
        (16400, .updateSAAddresses, "UPDATE_SA_ADDRESSES"),
        (16401, .cookie2, "COOKIE2"),
        (16402, .noNATsAllowed, "NO_NATS_ALLOWED"),
        (16403, .authLifetime, "AUTH_LIFETIME"),
        (16406, .redirectSupported, "REDIRECT_SUPPORTED"),
        (16407, .redirect, "REDIRECT"),
        (16408, .redirectedFrom, "REDIRECTED_FROM"),
        (16418, .childlessSupported, "CHILDLESS_IKEV2_SUPPORTED"),
        (16431, .signatureHashAlgorithms, "SIGNATURE_HASH_ALGORITHMS"),
        (16430, .fragmentationSupported, "IKEV2_FRAGMENTATION_SUPPORTED"),
        (16392, .httpCertLookupSupported, "HTTP_CERT_LOOKUP_SUPPORTED"),
        (16404, .multipleAuthSupported, "MULTIPLE_AUTH_SUPPORTED"),
        (16405, .anotherAuthFollows, "ANOTHER_AUTH_FOLLOWS"),
        (16417, .eapOnlyAuthentication, "EAP_ONLY_AUTHENTICATION"),
        (16435, .usePPK, "USE_PPK"),
        (16436, .ppkIdentity, "PPK_IDENTITY"),
        (16437, .noPPKAuth, "NO_PPK_AUTH"),
        (16438, .intermediateExchangeSupported, "INTERMEDIATE_EXCHANGE_SUPPORTED"),
        (16441, .additionalKeyExchange, "ADDITIONAL_KEY_EXCHANGE"),
        (16444, .saResourceInfo, "SA_RESOURCE_INFO"),
    ]

    /// The type of this wire number.
    public init(_ number: UInt16) {
        self = Self.table.first { $0.0 == number }?.1 ?? .unknown(number)
    }

    /// The wire number.
    public var number: UInt16 {
        if case .unknown(let number) = self { return number }
        return Self.table.first { $0.1 == self }?.0 ?? 0
    }

    /// True for errors: 0…16383.
    public var isError: Bool { number < 16384 }

    /// The RFC's name.
    public var description: String {
        if case .unknown(let number) = self { return "NOTIFY_\(number)" }
        return Self.table.first { $0.1 == self }?.2 ?? ""
    }
}
