import IPPackets
import IPsecTypes
import Primitives

@testable import IKEMessages

/// Payloads by chance, for round trips.
struct PayloadGenerator {
    private var entropy: any EntropySource

    init(seed: UInt64) { entropy = SeededEntropy(seed: seed) }

    mutating func number(below limit: Int) -> Int { Int(entropy.nextUInt32() % UInt32(limit)) }

    private mutating func bytes(upTo limit: Int) -> [UInt8] { entropy.bytes(number(below: limit + 1)) }

    private mutating func u8() -> UInt8 { UInt8(number(below: 256)) }

    private mutating func u16() -> UInt16 { UInt16(number(below: 65536)) }

    mutating func payload() -> Payload {
        switch number(below: 12) {
        case 0: .securityAssociation(SAPayload((0...number(below: 4)).map { _ in proposal() }))
        case 1: .keyExchange(KEPayload(group: u16(), data: bytes(upTo: 300)))
        case 2: .initiatorID(IDPayload(type: u8(), data: bytes(upTo: 40)))
        case 3: .responderID(IDPayload(type: u8(), data: bytes(upTo: 40)))
        case 4: .authentication(AUTHPayload(method: u8(), data: bytes(upTo: 80)))
        case 5: .nonce(bytes(upTo: 256))
        case 6:
            .notify(
                NotifyPayload(
                    NotifyType(u16()),
                    data: bytes(upTo: 30),
                    securityProtocol: SecurityProtocol(u8()),
                    spi: bytes(upTo: 255)
                )
            )
        case 7: delete()
        case 8: .vendorID(bytes(upTo: 40))
        case 9: .initiatorSelectors(TSPayload((0...number(below: 5)).map { _ in selector() }))
        case 10: .responderSelectors(TSPayload((0...number(below: 5)).map { _ in selector() }))
        case 11:
            .configuration(
                ConfigurationPayload(
                    ConfigurationPayload.Kind(u8()),
                    (0..<number(below: 5)).map { _ in
                        ConfigurationPayload.Attribute(type: u16(), value: bytes(upTo: 20))
                    }
                )
            )
        default:
            // 48 and above are types that we do not read.
            .unknown(
                type: UInt8(54 + number(below: 200)),
                isCritical: number(below: 2) == 0,
                body: bytes(upTo: 50)
            )
        }
    }

    private mutating func delete() -> Payload {
        let size = 1 + number(below: 16)
        let spis = (0..<number(below: 5)).map { _ in entropy.bytes(size) }
        return .delete(
            DeletePayload(securityProtocol: SecurityProtocol(u8()), spiSize: UInt8(size), spis: spis)
        )
    }

    private mutating func proposal() -> Proposal {
        let transforms = (0..<number(below: 9)).map { _ in
            Transform(TransformType(u8()), u16(), keyBits: number(below: 2) == 0 ? u16() : nil)
        }
        return Proposal(
            number: u8(),
            securityProtocol: SecurityProtocol(u8()),
            spi: bytes(upTo: 20),
            transforms: transforms
        )
    }

    private mutating func selector() -> TrafficSelector {
        while true {
            let width = number(below: 2) == 0 ? 4 : 16
            let ends = [entropy.bytes(width), entropy.bytes(width)].compactMap { IPAddress(octets: $0) }
                .sorted()
            let ports = [u16(), u16()].sorted()
            guard let first = ends.first, let last = ends.last, let low = ports.first, let high = ports.last
            else { continue }
            let isOpaque = number(below: 8) == 0
            let range: ClosedRange<UInt16> = isOpaque ? 0...65535 : low...high
            let selector = TrafficSelector(first, last, ipProtocol: u8(), ports: range, isOpaque: isOpaque)
            if let selector { return selector }
        }
    }
}
