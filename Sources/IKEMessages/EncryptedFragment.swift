public import Cryptography
import Primitives

/// An Encrypted Fragment payload (SKF) that was not opened yet: one part of a message (RFC 7383 §2.5).
///
///                         1                   2                   3
///     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///    | Next Payload  |C|  RESERVED   |         Payload Length        |
///    |        Fragment Number        |        Total Fragments        |
///    |                     Initialization Vector                     |
///    ~                Encrypted content, Padding, ICV                ~
public struct EncryptedFragment: Sendable {
    /// The type of this payload.
    static let type: UInt8 = 53
    /// Octets of its header: generic header, number and total.
    static let headerLength = 8

    /// Which part it is, from 1.
    public let number: Int
    /// How many parts the message has.
    public let total: Int
    /// The message up to the IV: what AEAD ciphers authenticate.
    let prefix: [UInt8]
    /// The type of the first payload of the whole message; 0 in all parts but the first.
    let firstPayload: UInt8
    /// IV, ciphertext, ICV.
    let body: [UInt8]

    /// Reads the payload that follows the header of `datagram` and ends it.
    init(parsing reader: inout ByteReader, of datagram: [UInt8]) throws(WireError) {
        let start = reader.offset
        let generic = try GenericHeader(parsing: &reader)
        guard generic.bodyLength == reader.remaining else {
            throw WireError(.invalidLength(generic.bodyLength), at: reader.offset)
        }
        number = Int(try reader.u16())
        total = Int(try reader.u16())
        guard number > 0, number <= total else {
            throw WireError(.invalidValue("fragment number"), at: start)
        }
        // A message without payloads is never cut, and the parts that follow name no first payload.
        guard (number == 1) == (generic.nextPayload != 0) else {
            throw WireError(.invalidValue("payload type"), at: start)
        }
        firstPayload = generic.nextPayload
        prefix = Array(datagram.prefix(reader.offset))
        body = reader.rest()
    }

    /// Verifies and decrypts: its part of the inner payloads' octets.
    public func open(
        with cipher: MessageCipher,
        transform: CipherTransform
    ) throws(EncryptedContent.OpenError) -> [UInt8] {
        try EncryptedContent.decrypt(body, behind: prefix, with: cipher, transform: transform)
    }
}

extension ReceivedMessage {
    /// The message that `parts` make, all of them open and in their order; `first` is the first one, and `header` its
    /// header (RFC 7383 §2.6).
    public init(merging parts: [[UInt8]], first: EncryptedFragment, header: IKEHeader) {
        // As it was before it was cut: what RFC 9242 §3.3.1 computes IntAuth of. The lengths are set there.
        var prefix = Array(first.prefix.prefix(IKEHeader.length + 4))
        if prefix.count > 16 { prefix[16] = EncryptedContent.type }
        var whole = header
        whole.nextPayload = EncryptedContent.type
        self.init(
            header: whole,
            content: .encrypted(
                EncryptedContent(
                    prefix: prefix,
                    firstPayload: first.firstPayload,
                    body: [],
                    opened: Array(parts.joined())
                )
            )
        )
    }
}

/// A message of ours that is too long for one datagram, cut into parts (RFC 7383 §2.5).
public struct FragmentedMessage: Sendable {
    /// How many parts it has.
    public let total: Int
    private let header: IKEHeader
    private let firstPayload: UInt8
    private let inner: [UInt8]
    private let chunk: Int
    private let transform: CipherTransform

    /// - Parameter limit: octets that a datagram of ours has at most, IP and UDP headers and marker not counted.
    /// - Returns: nil if `message` fits into one, or cannot be cut so small.
    public init?(
        _ message: IKEMessage,
        transform: CipherTransform,
        limit: Int
    ) throws(IKEMessage.SealError) {
        var inner = ByteWriter(capacity: 512)
        do throws(WireError) {
            try PayloadChain.write(message.payloads, into: &inner)
        } catch {
            throw IKEMessage.SealError(reason: error.description)
        }
        let outside = IKEHeader.length + transform.ivLength + transform.icvLength
        let block = transform.isAEAD ? 1 : max(transform.blockLength, 1)
        let padded = (inner.count / block + 1) * block
        guard outside + 4 + padded > limit else { return nil }
        let room = limit - outside - EncryptedFragment.headerLength
        // The last octet of the room is Pad Length.
        let chunk = room - room % block - 1
        guard chunk > 0 else { return nil }
        let total = (inner.count + chunk - 1) / chunk
        guard total > 1, total <= Int(UInt16.max) else { return nil }
        self.total = total
        self.chunk = chunk
        self.inner = inner.bytes
        self.transform = transform
        header = message.header
        firstPayload = message.payloads.first?.type ?? 0
    }

    /// Part `number`, from 1 to `total`, as it goes on the wire.
    ///
    /// - Parameter iv: as for `IKEMessage.sealed`, another one for each part.
    public func sealed(
        _ number: Int,
        with cipher: MessageCipher,
        iv: [UInt8]
    ) throws(IKEMessage.SealError) -> [UInt8] {
        let part = inner.dropFirst((number - 1) * chunk).prefix(chunk)
        let block = transform.isAEAD ? 1 : max(transform.blockLength, 1)
        let padLength = (block - (part.count + 1) % block) % block
        let plain = part + [UInt8](repeating: 0, count: padLength) + [UInt8(truncatingIfNeeded: padLength)]
        var header = header
        header.nextPayload = EncryptedFragment.type
        var writer = ByteWriter(capacity: plain.count + 96)
        header.write(into: &writer)
        let length =
            EncryptedFragment.headerLength + transform.ivLength + plain.count + transform.icvLength
        writer.u8(number == 1 ? firstPayload : 0)
        writer.u8(0)
        writer.u16(0)
        writer.u16(UInt16(truncatingIfNeeded: number))
        writer.u16(UInt16(truncatingIfNeeded: total))
        do throws(WireError) {
            try writer.patch16(length, at: IKEHeader.length + 2, field: "payload length")
            try writer.patch32(IKEHeader.length + length, at: 24, field: "message length")
            return try IKEMessage.seal(Array(plain), behind: writer.bytes, cipher: cipher, iv: iv)
        } catch {
            throw IKEMessage.SealError(reason: error.description)
        }
    }
}
