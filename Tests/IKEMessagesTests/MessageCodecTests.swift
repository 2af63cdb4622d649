import Primitives
import Testing

@testable import IKEMessages

@Suite struct IKEHeaderTests {
    private let sample = octets("0102030405060708 1112131415161718 00 20 22 08 00000005 0000001c")

    private var header: IKEHeader {
        var header = IKEHeader(
            initiatorSPI: 0x0102_0304_0506_0708,
            responderSPI: 0x1112_1314_1516_1718,
            exchange: .ikeSAInit,
            isFromInitiator: true,
            isResponse: false,
            messageID: 5
        )
        header.messageLength = 28
        return header
    }

    private func parse(_ octets: [UInt8]) throws(WireError) -> IKEHeader {
        var reader = ByteReader(octets.span)
        return try IKEHeader(parsing: &reader)
    }

    private func write(_ header: IKEHeader) -> [UInt8] {
        var writer = ByteWriter()
        header.write(into: &writer)
        return writer.bytes
    }

    @Test func parsesCapture() throws {
        #expect(try parse(sample) == header)
    }

    @Test func writesCapture() {
        #expect(write(header) == sample)
    }

    @Test func roundTrips() throws {
        var entropy = SeededEntropy(seed: 28)
        for _ in 0..<2000 {
            var octets = entropy.bytes(28)
            octets[19] &= 0x38
            #expect(try write(parse(octets)) == octets)
        }
    }

    @Test func namesEveryExchange() {
        for number in UInt8.min...UInt8.max { #expect(ExchangeType(number).number == number) }
        #expect(ExchangeType(34).description == "IKE_SA_INIT")
    }

    @Test(arguments: 0..<28) func rejectsEveryTruncation(_ count: Int) {
        #expect(throws: WireError.self) { try parse(Array(sample.prefix(count))) }
        #expect(throws: WireError.self) { try ReceivedMessage(parsing: Array(sample.prefix(count))) }
    }

    @Test func rejectsTrailingOctets() {
        #expect(throws: WireError(.invalidLength(28), at: 24)) {
            try ReceivedMessage.header(of: sample + [0])
        }
    }

    @Test(arguments: [0, 1, 27, 29, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] as [UInt32])
    func rejectsEveryOtherLength(_ length: UInt32) {
        var wrong = header
        wrong.messageLength = length
        #expect(throws: WireError.self) { try ReceivedMessage(parsing: write(wrong)) }
    }

    @Test func ignoresReservedBits() throws {
        for bit in [0x01, 0x02, 0x04, 0x40, 0x80] as [UInt8] {
            var changed = sample
            changed[19] |= bit
            #expect(try parse(changed) == header)
            #expect(try write(parse(changed)) == sample)
        }
    }

    @Test func rejectsOtherMajorVersions() {
        for version in UInt8(0)...15 where version != 2 {
            var changed = sample
            changed[17] = version << 4
            #expect(throws: WireError.self) { try ReceivedMessage(parsing: changed) }
        }
    }
}

@Suite struct PayloadChainTests {
    /// Two payloads: a nonce and a vendor ID.
    private let sample = octets("2b000006 aabb 00000005 cc")
    private let payloads: [Payload] = [.nonce([0xaa, 0xbb]), .vendorID([0xcc])]

    private func parse(_ octets: [UInt8], first: UInt8 = 40) throws(WireError) -> [Payload] {
        var reader = ByteReader(octets.span)
        return try PayloadChain.parse(first: first, from: &reader)
    }

    private func write(_ payloads: [Payload]) throws(WireError) -> [UInt8] {
        var writer = ByteWriter()
        try PayloadChain.write(payloads, into: &writer)
        return writer.bytes
    }

    @Test func parsesCapture() throws {
        #expect(try parse(sample) == payloads)
        #expect(try parse([], first: 0).isEmpty)
    }

    @Test func writesCapture() throws {
        #expect(try write(payloads) == sample)
    }

    @Test func rejectsEveryTruncation() {
        for count in 0..<sample.count {
            #expect(throws: WireError.self) { try parse(Array(sample.prefix(count))) }
        }
    }

    @Test func rejectsTrailingOctets() {
        #expect(throws: WireError.self) { try parse(sample + [0]) }
        #expect(throws: WireError.self) { try parse([0], first: 0) }
    }

    @Test func ignoresReservedBits() throws {
        for bits in [0x01, 0x40, 0x7f, 0x80] as [UInt8] {
            // The critical bit of a payload that is understood is ignored too (RFC 7296 §3.2).
            var changed = sample
            changed[1] |= bits
            changed[7] |= bits
            #expect(try parse(changed) == payloads)
            #expect(try write(parse(changed)) == sample)
        }
    }

    @Test func keepsUnknownPayloadsWithTheirCriticalBit() throws {
        let chain = octets("c9800006 0102 00000005 03")
        let unknown: [Payload] = [
            .unknown(type: 200, isCritical: true, body: [1, 2]),
            .unknown(type: 201, isCritical: false, body: [3]),
        ]
        #expect(try parse(chain, first: 200) == unknown)
        #expect(try write(unknown) == chain)
    }

    @Test(arguments: [0, 1, 2, 3] as [UInt8]) func rejectsLengthsBelowTheHeader(_ length: UInt8) {
        #expect(throws: WireError.self) { try parse([0, 0, 0, length]) }
        #expect(throws: WireError.self) { try parse([0, 0, 0, length, 0, 0, 0, 4], first: 200) }
    }

    @Test func boundsTheNumberOfPayloads() throws {
        func chain(_ count: Int) -> [UInt8] {
            (0..<count).flatMap { [$0 == count - 1 ? 0 : 40, 0, 0, 4] as [UInt8] }
        }
        #expect(try parse(chain(PayloadChain.limit)).count == PayloadChain.limit)
        #expect(throws: WireError.self) { try parse(chain(PayloadChain.limit + 1)) }
    }

    @Test func rejectsEncryptedPayloadsInsideAChain() {
        for type in [46, 53] as [UInt8] {
            #expect(throws: WireError.self) { try parse([0, 0, 0, 4], first: type) }
            #expect(throws: WireError.self) { try parse([type, 0, 0, 4, 0, 0, 0, 4]) }
        }
    }
}

@Suite struct NotifyTypeTests {
    @Test func keepsEveryNumber() {
        for number in UInt16.min...UInt16.max { #expect(NotifyType(number).number == number) }
    }

    @Test func tellsErrorsFromStatus() {
        #expect(NotifyType(24).isError && NotifyType(16383).isError)
        #expect(!NotifyType(16384).isError && !NotifyType(65535).isError)
        #expect(NotifyType(14).description == "NO_PROPOSAL_CHOSEN")
        #expect(NotifyType(4711).description == "NOTIFY_4711")
    }
}
