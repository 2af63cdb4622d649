public import IPsecTypes
import Primitives

/// A Security Association payload: proposals in order of preference (RFC 7296 §3.3).
public struct SAPayload: Hashable, Sendable {
    /// Bounds on what one payload may hold: far above what any device sends.
    public static let limits = (proposals: 64, transforms: 255)

    /// The proposals.
    public var proposals: [Proposal]

    /// Makes a payload.
    public init(_ proposals: [Proposal]) {
        self.proposals = proposals
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        proposals = []
        var isLast = false
        while !reader.isAtEnd {
            guard !isLast else { throw WireError(.invalidValue("last substructure"), at: reader.offset) }
            guard proposals.count < Self.limits.proposals else {
                throw WireError(.limitExceeded("64 proposals"), at: reader.offset)
            }
            let (proposal, last) = try Self.proposal(from: &reader)
            proposals.append(proposal)
            isLast = last
        }
        guard isLast else { throw WireError(.invalidValue("last substructure"), at: reader.offset) }
    }

    private static func proposal(from reader: inout ByteReader) throws(WireError) -> (Proposal, isLast: Bool)
    {
        let start = reader.offset
        let last = try reader.u8()
        guard last == 0 || last == 2 else { throw WireError(.invalidValue("last substructure"), at: start) }
        try reader.skip(1)
        let length = Int(try reader.u16())
        guard length >= 8 else { throw WireError(.invalidLength(length), at: start) }
        var body = try reader.sub(length - 4)
        let number = try body.u8()
        let securityProtocol = SecurityProtocol(try body.u8())
        let spiSize = Int(try body.u8())
        let count = Int(try body.u8())
        let spi = try body.bytes(spiSize)
        var transforms = [Transform]()
        for index in 0..<count {
            transforms.append(try transform(from: &body, isLast: index == count - 1))
        }
        try body.expectEnd()
        let proposal = Proposal(
            number: number,
            securityProtocol: securityProtocol,
            spi: spi,
            transforms: transforms
        )
        return (proposal, last == 0)
    }

    private static func transform(from reader: inout ByteReader, isLast: Bool) throws(WireError) -> Transform
    {
        let start = reader.offset
        let last = try reader.u8()
        guard last == (isLast ? 0 : 3) else { throw WireError(.invalidValue("last substructure"), at: start) }
        try reader.skip(1)
        let length = Int(try reader.u16())
        guard length >= 8 else { throw WireError(.invalidLength(length), at: start) }
        var body = try reader.sub(length - 4)
        let type = TransformType(try body.u8())
        try body.skip(1)
        let id = try body.u16()
        var keyBits: UInt16?
        var hasUnknownAttribute = false
        while !body.isAtEnd {
            let head = try body.u16()
            if head & 0x8000 != 0 {
                let value = try body.u16()
                if head & 0x7fff == 14 { keyBits = value } else { hasUnknownAttribute = true }
            } else {
                try body.skip(Int(try body.u16()))
                hasUnknownAttribute = true
            }
        }
        return Transform(type, id, keyBits: keyBits, hasUnknownAttribute: hasUnknownAttribute)
    }

    func write(into writer: inout ByteWriter) throws(WireError) {
        for (index, proposal) in proposals.enumerated() {
            let start = writer.count
            guard let spiSize = UInt8(exactly: proposal.spi.count),
                let count = UInt8(exactly: proposal.transforms.count)
            else { throw WireError(.overflow("proposal"), at: start) }
            writer.u8(index == proposals.count - 1 ? 0 : 2)
            writer.u8(0)
            writer.u16(0)
            writer.u8(proposal.number)
            writer.u8(proposal.securityProtocol.number)
            writer.u8(spiSize)
            writer.u8(count)
            writer.append(proposal.spi)
            for (position, transform) in proposal.transforms.enumerated() {
                writer.u8(position == proposal.transforms.count - 1 ? 0 : 3)
                writer.u8(0)
                writer.u16(transform.keyBits == nil ? 8 : 12)
                writer.u8(transform.type.number)
                writer.u8(0)
                writer.u16(transform.id)
                if let bits = transform.keyBits {
                    writer.u16(0x8000 | 14)
                    writer.u16(bits)
                }
            }
            try writer.patch16(writer.count - start, at: start + 2, field: "proposal length")
        }
    }
}
