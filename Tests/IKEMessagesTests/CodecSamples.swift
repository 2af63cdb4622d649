import IPPackets
import IPsecTypes
import Primitives
import Testing

@testable import IKEMessages

/// The octets that `text` spells; blanks and line ends are for the reader.
func octets(_ text: String) -> [UInt8] {
    Hex.decode(String(text.filter { !$0.isWhitespace })) ?? []
}

/// A payload body written down by hand from the RFC's boxes, and the value it stands for.
struct CodecSample: Sendable, CustomTestStringConvertible {
    let name: String
    let octets: [UInt8]
    let payload: Payload
    /// Octets below which nothing can be read; the whole body for formats with a fixed end.
    let minimum: Int
    /// Offsets of RESERVED octets, with the bits that are reserved.
    let reserved: [(offset: Int, bits: UInt8)]

    var isClosed: Bool { minimum == octets.count }
    var testDescription: String { name }

    static func parse(_ octets: [UInt8], type: UInt8) throws(WireError) -> Payload {
        var reader = ByteReader(octets.span)
        return try Payload(type: type, isCritical: false, parsing: &reader)
    }

    static func write(_ payload: Payload) throws(WireError) -> [UInt8] {
        var writer = ByteWriter()
        try payload.write(into: &writer)
        return writer.bytes
    }

    static let all: [CodecSample] = [
        securityAssociation, keyExchange, initiatorID, responderID, authentication, notify, delete, deleteIKE,
        initiatorSelectors, responderSelectors, nonce, vendorID,
    ]

    private static let spi = octets_("c0ffee01")

    static let securityAssociation = CodecSample(
        name: "SA",
        octets: octets_(
            """
            02000020 01030402 c0ffee01  0300000c 01000014 800e0100  00000008 05000000
            00000028 02030403 c0ffee01  0300000c 0100000c 800e0080  03000008 0300000c  00000008 05000000
            """
        ),
        payload: .securityAssociation(
            SAPayload([
                Proposal(
                    number: 1,
                    securityProtocol: .esp,
                    spi: spi,
                    transforms: [Transform(.encryption, 20, keyBits: 256), .noESN]
                ),
                Proposal(
                    number: 2,
                    securityProtocol: .esp,
                    spi: spi,
                    transforms: [Transform(.encryption, 12, keyBits: 128), Transform(.integrity, 12), .noESN]
                ),
            ])
        ),
        minimum: 72,
        reserved: [(1, 0xff), (13, 0xff), (17, 0xff), (25, 0xff), (29, 0xff), (33, 0xff)]
    )

    static let keyExchange = CodecSample(
        name: "KE",
        octets: octets_("001f0000 aabbccdd"),
        payload: .keyExchange(KEPayload(group: 31, data: [0xaa, 0xbb, 0xcc, 0xdd])),
        minimum: 4,
        reserved: [(2, 0xff), (3, 0xff)]
    )

    private static let idOctets = octets_("02000000 612e74657374")
    private static let idReserved: [(offset: Int, bits: UInt8)] = [(1, 0xff), (2, 0xff), (3, 0xff)]

    static let initiatorID = CodecSample(
        name: "IDi",
        octets: idOctets,
        payload: .initiatorID(IDPayload(type: 2, data: Array("a.test".utf8))),
        minimum: 4,
        reserved: idReserved
    )

    static let responderID = CodecSample(
        name: "IDr",
        octets: idOctets,
        payload: .responderID(IDPayload(type: 2, data: Array("a.test".utf8))),
        minimum: 4,
        reserved: idReserved
    )

    static let authentication = CodecSample(
        name: "AUTH",
        octets: octets_("02000000 0102030405060708"),
        payload: .authentication(AUTHPayload(method: 2, data: [1, 2, 3, 4, 5, 6, 7, 8])),
        minimum: 4,
        reserved: idReserved
    )

    static let notify = CodecSample(
        name: "N",
        octets: octets_("03044009 c0ffee01 0102"),
        payload: .notify(NotifyPayload(.rekeySA, data: [1, 2], securityProtocol: .esp, spi: spi)),
        minimum: 8,
        reserved: []
    )

    static let delete = CodecSample(
        name: "D of ESP",
        octets: octets_("03040002 c0ffee01 c0ffee02"),
        payload: .delete(
            DeletePayload(securityProtocol: .esp, spiSize: 4, spis: [spi, octets_("c0ffee02")])
        ),
        minimum: 12,
        reserved: []
    )

    static let deleteIKE = CodecSample(
        name: "D of IKE",
        octets: octets_("01000000"),
        payload: .delete(.ike),
        minimum: 4,
        reserved: []
    )

    static let initiatorSelectors = CodecSample(
        name: "TSi",
        octets: octets_(
            """
            02000000
            07000010 0000ffff 0a010000 0a01ffff
            08060028 01bb01bb 20010db8000000000000000000000000 20010db800000000ffffffffffffffff
            """
        ),
        payload: .initiatorSelectors(TSPayload([.sample4, .sample6].compactMap { $0 })),
        minimum: 60,
        reserved: [(1, 0xff), (2, 0xff), (3, 0xff)]
    )

    static let responderSelectors = CodecSample(
        name: "TSr with OPAQUE ports",
        octets: octets_("01000000 07110010 ffff0000 0a000001 0a000001"),
        payload: .responderSelectors(TSPayload([.sampleOpaque].compactMap { $0 })),
        minimum: 20,
        reserved: [(1, 0xff), (2, 0xff), (3, 0xff)]
    )

    static let nonce = CodecSample(
        name: "Nonce",
        octets: octets_("000102030405060708090a0b0c0d0e0f"),
        payload: .nonce(Array(0..<16)),
        minimum: 0,
        reserved: []
    )

    static let vendorID = CodecSample(
        name: "V",
        octets: octets_("cafe"),
        payload: .vendorID([0xca, 0xfe]),
        minimum: 0,
        reserved: []
    )

    private static func octets_(_ text: String) -> [UInt8] { IKEMessagesTests.octets(text) }
}

extension TrafficSelector {
    static let sample4 = IPPrefix("10.1.0.0/16").map { TrafficSelector($0) }
    static let sample6 = IPPrefix("2001:db8::/64").map {
        TrafficSelector($0, ipProtocol: 6, ports: 443...443)
    }
    static let sampleOpaque = IPAddress("10.0.0.1").flatMap {
        TrafficSelector($0, $0, ipProtocol: 17, isOpaque: true)
    }
}
