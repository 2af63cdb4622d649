import IPsecTypes
import Primitives
import Testing

@testable import IKEMessages

@Suite struct PayloadCodecTests {
    @Test(arguments: CodecSample.all) func parsesCapture(_ sample: CodecSample) throws {
        #expect(try CodecSample.parse(sample.octets, type: sample.payload.type) == sample.payload)
    }

    @Test(arguments: CodecSample.all) func writesCapture(_ sample: CodecSample) throws {
        #expect(try CodecSample.write(sample.payload) == sample.octets)
    }

    @Test(arguments: CodecSample.all) func rejectsEveryTruncation(_ sample: CodecSample) throws {
        for count in 0..<sample.octets.count {
            let part = Array(sample.octets.prefix(count))
            if count < sample.minimum {
                #expect(throws: WireError.self) { try CodecSample.parse(part, type: sample.payload.type) }
            } else {
                #expect(try CodecSample.parse(part, type: sample.payload.type) != sample.payload)
            }
        }
    }

    @Test(arguments: CodecSample.all) func rejectsTrailingOctets(_ sample: CodecSample) throws {
        for extra in [[UInt8(0)], [0, 0, 0, 8], [UInt8](repeating: 0xff, count: 40)] {
            let longer = sample.octets + extra
            if sample.isClosed {
                #expect(throws: WireError.self) { try CodecSample.parse(longer, type: sample.payload.type) }
            } else {
                // What follows is data of the payload's own: it must be kept.
                let payload = try CodecSample.parse(longer, type: sample.payload.type)
                #expect(try CodecSample.write(payload) == longer)
            }
        }
    }

    @Test(arguments: CodecSample.all) func ignoresReservedBits(_ sample: CodecSample) throws {
        for (offset, bits) in sample.reserved {
            for bit in (0..<8).map({ UInt8(1) << $0 }) where bits & bit != 0 {
                var changed = sample.octets
                changed[offset] |= bit
                let payload = try CodecSample.parse(changed, type: sample.payload.type)
                #expect(payload == sample.payload, "octet \(offset)")
                #expect(try CodecSample.write(payload) == sample.octets, "octet \(offset)")
            }
        }
    }

    @Test func roundTripsWhateverCanBeBuilt() throws {
        var random = PayloadGenerator(seed: 7296)
        for run in 0..<5000 {
            let payloads = (0..<random.number(below: 12)).map { _ in random.payload() }
            var writer = ByteWriter()
            try PayloadChain.write(payloads, into: &writer)
            let bytes = writer.bytes
            var reader = ByteReader(bytes.span)
            let again = try PayloadChain.parse(first: payloads.first?.type ?? 0, from: &reader)
            #expect(again == payloads, "run \(run)")
        }
    }

    @Test func writesNothingThatDoesNotFit() {
        let long = [UInt8](repeating: 0, count: 256)
        #expect(throws: WireError.self) { try CodecSample.write(.notify(NotifyPayload(.cookie, spi: long))) }
        #expect(throws: WireError.self) { try CodecSample.write(.initiatorSelectors(TSPayload([]))) }
        let transforms = [Transform](repeating: .noESN, count: 256)
        let proposal = Proposal(securityProtocol: .esp, transforms: transforms)
        #expect(throws: WireError.self) { try CodecSample.write(.securityAssociation(SAPayload([proposal]))) }
        let huge = Payload.nonce([UInt8](repeating: 0, count: 65_532))
        var writer = ByteWriter()
        #expect(throws: WireError.self) { try PayloadChain.write([huge], into: &writer) }
    }
}

@Suite struct SAPayloadTests {
    private func rejects(_ text: String) -> Bool {
        do throws(WireError) {
            _ = try CodecSample.parse(octets(text), type: 33)
            return false
        } catch {
            return true
        }
    }

    @Test func rejectsBrokenStructure() {
        #expect(rejects(""), "no proposal")
        #expect(rejects("02000008 01030000"), "says that another follows")
        #expect(rejects("00000008 01030000 00000008 02030000"), "goes on after the last")
        #expect(rejects("01000008 01030000"), "Last Substruc 1")
        #expect(rejects("00000010 01030001 03000008 05000000"), "last transform says that another follows")
        #expect(rejects("00000018 01030002 00000008 05000000 00000008 05000001"), "first transform says last")
        #expect(
            rejects("00000018 01030001 00000008 05000000 00000008 05000001"),
            "more transforms than counted"
        )
        #expect(rejects("00000010 01030002 03000008 05000000"), "fewer transforms than counted")
        #expect(rejects("00000007 01030000"), "proposal shorter than its header")
        #expect(rejects("00000010 01030001 00000007 05000000"), "transform shorter than its header")
        #expect(rejects("00000010 0103ff01 00000008 05000000"), "SPI longer than the proposal")
        #expect(
            rejects("00000014 01030001 0000000c 01000014 000e0002"),
            "attribute longer than its transform"
        )
        #expect(rejects("00000012 01030001 0000000a 01000014 800e"), "attribute cut in its middle")
    }

    @Test func acceptsUnknownTransformsAndProtocols() throws {
        let body = octets("0000001c 01090002 0300000c 63001234 800e0100 00000008 0500ffff")
        let payload = try CodecSample.parse(body, type: 33)
        let expected = Proposal(
            number: 1,
            securityProtocol: .unknown(9),
            transforms: [Transform(.unknown(0x63), 0x1234, keyBits: 256), Transform(.esn, 0xffff)]
        )
        #expect(payload == .securityAssociation(SAPayload([expected])))
        #expect(try CodecSample.write(payload) == body)
    }

    @Test func marksTransformsWithUnknownAttributes() throws {
        // A fixed attribute 15, a variable one 14, and a Key Length beside another.
        for attribute in ["800f0100", "000e0002 0100", "800e0100 800f0001"] {
            let size = octets(attribute).count
            let text =
                "000000" + Hex.encode([UInt8(16 + size)]) + "01030001 000000"
                + Hex.encode([UInt8(8 + size)]) + "01000014" + attribute
            guard case .securityAssociation(let sa) = try CodecSample.parse(octets(text), type: 33) else {
                Issue.record("not an SA payload")
                return
            }
            #expect(sa.proposals.first?.transforms.first?.hasUnknownAttribute == true, "\(attribute)")
            #expect(sa.proposals.first?.transforms.first?.isSupported == false, "\(attribute)")
        }
    }

    @Test func boundsTheNumberOfProposals() throws {
        func chain(_ count: Int) -> String {
            (0..<count).map { ($0 == count - 1 ? "00" : "02") + "0000080103 0000" }.joined()
        }
        #expect(!rejects(chain(SAPayload.limits.proposals)))
        #expect(rejects(chain(SAPayload.limits.proposals + 1)))
    }
}

@Suite struct TSAndDeletePayloadTests {
    private func parse(_ text: String, _ type: UInt8) -> Payload? {
        try? CodecSample.parse(octets(text), type: type)
    }

    @Test func rejectsSelectorsThatCannotExist() {
        #expect(parse("00000000", 44) == nil, "none")
        #expect(parse("01000000 07000010 0000ffff 0a000002 0a000001", 44) == nil, "addresses reversed")
        #expect(parse("01000000 07000010 00020001 0a000001 0a000002", 44) == nil, "ports reversed")
        #expect(parse("01000000 07000014 0000ffff 0a000001 0a000002 00000000", 44) == nil, "too long")
        #expect(parse("01000000 0700000c 0000ffff 0a000001", 44) == nil, "too short")
        #expect(parse("01000000 08000010 0000ffff 0a000001 0a000002", 44) == nil, "IPv6 with IPv4's length")
        #expect(parse("02000000 07000010 0000ffff 0a000001 0a000002", 44) == nil, "fewer than counted")
        #expect(parse("01000000 07000003", 44) == nil, "shorter than its header")
    }

    @Test func countsSelectorsOfUnknownTypes() throws {
        let payload = parse("02000000 0a000008 00000001 07000010 0000ffff 0a000001 0a000002", 45)
        guard case .responderSelectors(let selectors) = payload else {
            Issue.record("not readable")
            return
        }
        #expect(selectors.unknownCount == 1)
        #expect(selectors.selectors.count == 1)
    }

    @Test func rejectsDeletesWhoseCountContradictsTheirLength() {
        #expect(parse("03040001", 42) == nil)
        #expect(parse("03040000 c0ffee01", 42) == nil)
        #expect(parse("03000001", 42) == nil, "an SPI of no octets")
        #expect(parse("0300ffff", 42) == nil)
        #expect(parse("03ffffff c0ffee01", 42) == nil)
        #expect(parse("03040000", 42) != nil, "none is readable")
        #expect(parse("09080001 0102030405060708", 42) != nil, "another protocol is readable")
    }
}
