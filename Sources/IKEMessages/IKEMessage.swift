public import Cryptography
public import Primitives

/// A message whose payloads are in clear: IKE_SA_INIT, and notifications outside of any IKE_SA.
public struct IKEMessage: Hashable, Sendable {
    /// The header.
    public var header: IKEHeader
    /// The payloads in order.
    public var payloads: [Payload]

    /// Makes a message.
    public init(header: IKEHeader, payloads: [Payload]) {
        self.header = header
        self.payloads = payloads
    }

    /// Encodes the message; Next Payload and Length are filled in.
    public func encoded() throws(WireError) -> [UInt8] {
        var header = header
        header.nextPayload = payloads.first?.type ?? 0
        var writer = ByteWriter(capacity: 512)
        header.write(into: &writer)
        try PayloadChain.write(payloads, into: &writer)
        try writer.patch32(writer.count, at: 24, field: "message length")
        return writer.bytes
    }
}

/// A datagram split into its header and, as far as it can be read without keys, its content.
public struct ReceivedMessage: Sendable {
    /// What follows the header.
    public enum Content: Sendable {
        /// Payloads in clear.
        case clear([Payload])
        /// An Encrypted payload (SK), which ends the message (RFC 7296 §3.14).
        case encrypted(EncryptedContent)
        /// An Encrypted Fragment payload (SKF), which ends the message (RFC 7383 §2.5).
        case fragment(EncryptedFragment)
    }

    /// The header.
    public let header: IKEHeader
    /// The content.
    public let content: Content

    init(header: IKEHeader, content: Content) {
        self.header = header
        self.content = content
    }

    /// Reads a header alone and judges version and length.
    public static func header(of datagram: [UInt8]) throws(WireError) -> IKEHeader {
        var reader = ByteReader(datagram.span)
        let header = try IKEHeader(parsing: &reader)
        // RFC 7296 §3.1: the length covers header and all payloads; anything else is not a message.
        guard Int(header.messageLength) == datagram.count else {
            throw WireError(.invalidLength(Int(header.messageLength)), at: 24)
        }
        return header
    }

    /// Reads a whole datagram of version 2.
    public init(parsing datagram: [UInt8]) throws(WireError) {
        header = try Self.header(of: datagram)
        guard header.majorVersion == 2 else { throw WireError(.invalidValue("major version"), at: 17) }
        var reader = ByteReader(datagram.span)
        try reader.skip(IKEHeader.length)
        if header.nextPayload == EncryptedContent.type {
            let generic = try GenericHeader(parsing: &reader)
            guard generic.bodyLength == reader.remaining else {
                throw WireError(.invalidLength(generic.bodyLength), at: reader.offset)
            }
            let prefix = Array(datagram.prefix(reader.offset))
            content = .encrypted(
                EncryptedContent(prefix: prefix, firstPayload: generic.nextPayload, body: reader.rest())
            )
        } else if header.nextPayload == EncryptedFragment.type {
            content = .fragment(try EncryptedFragment(parsing: &reader, of: datagram))
        } else {
            content = .clear(try PayloadChain.parse(first: header.nextPayload, from: &reader))
        }
    }
}

/// An Encrypted payload that was not opened yet, or one whose parts were (RFC 7383).
public struct EncryptedContent: Sendable {
    /// The type of this payload.
    static let type: UInt8 = 46

    /// The message up to and including the generic header of the SK payload: what AEAD ciphers authenticate
    /// (RFC 5282 §5.1).
    let prefix: [UInt8]
    /// The type of the first payload inside.
    let firstPayload: UInt8
    /// IV, ciphertext, ICV.
    let body: [UInt8]
    /// The inner payloads' octets, if they came in parts: each of those was authentic.
    var opened: [UInt8]?

    /// Why a payload could not be opened.
    public enum OpenError: Error, Hashable, Sendable {
        /// Shorter than IV and ICV, or integrity check failed: not from the peer.
        case notAuthentic
        /// Authentic, but what it holds cannot be read: the peer's fault.
        case malformed(WireError)
    }

    /// Verifies, decrypts and reads the payloads.
    public func open(with cipher: MessageCipher, transform: CipherTransform) throws(OpenError) -> [Payload] {
        try read(decrypt(with: cipher, transform: transform), transform: transform)
    }

    /// Opens an IKE_INTERMEDIATE message: its payloads, and what IntAuth covers of it (RFC 9242 §3.3.2).
    public func openIntermediate(
        with cipher: MessageCipher,
        transform: CipherTransform
    ) throws(OpenError) -> (payloads: [Payload], authenticated: [UInt8]) {
        let plain = try decrypt(with: cipher, transform: transform)
        let payloads = try read(plain, transform: transform)
        return (payloads, IKEMessage.intermediateOctets(prefix: prefix, inner: plain))
    }

    /// The inner payloads' octets, without padding.
    private func decrypt(with cipher: MessageCipher, transform: CipherTransform) throws(OpenError) -> [UInt8]
    {
        if let opened { return opened }
        return try Self.decrypt(body, behind: prefix, with: cipher, transform: transform)
    }

    static func decrypt(
        _ body: [UInt8],
        behind prefix: [UInt8],
        with cipher: MessageCipher,
        transform: CipherTransform
    ) throws(OpenError) -> [UInt8] {
        let minimum = transform.ivLength + transform.icvLength
        guard body.count > minimum else { throw .notAuthentic }
        var plain: [UInt8]
        do {
            plain = try cipher.open(
                aad: prefix,
                iv: Array(body.prefix(transform.ivLength)),
                sealed: Array(body.dropFirst(transform.ivLength))
            )
        } catch {
            throw .notAuthentic
        }
        guard let padLength = plain.popLast(), Int(padLength) <= plain.count else {
            throw .malformed(WireError(.invalidValue("pad length"), at: prefix.count))
        }
        plain.removeLast(Int(padLength))
        return plain
    }

    private func read(_ plain: [UInt8], transform: CipherTransform) throws(OpenError) -> [Payload] {
        do {
            var reader = ByteReader(plain.span, base: prefix.count + transform.ivLength)
            return try PayloadChain.parse(first: firstPayload, from: &reader)
        } catch {
            throw .malformed(error)
        }
    }
}

extension IKEMessage {
    /// Encodes the message with all payloads inside one Encrypted payload (RFC 7296 §3.14).
    ///
    /// - Parameters:
    ///   - iv: `transform.ivLength` octets that never repeat for this key (AEAD) or cannot be predicted (CBC).
    public func sealed(
        with cipher: MessageCipher,
        transform: CipherTransform,
        iv: [UInt8]
    ) throws(SealError) -> [UInt8] {
        do throws(WireError) {
            var inner = ByteWriter(capacity: 512)
            try PayloadChain.write(payloads, into: &inner)
            let block = max(transform.isAEAD ? 1 : transform.blockLength, 1)
            let padLength = (block - (inner.count + 1) % block) % block
            inner.zeros(padLength)
            inner.u8(UInt8(truncatingIfNeeded: padLength))

            var header = header
            header.nextPayload = EncryptedContent.type
            var writer = ByteWriter(capacity: inner.count + 96)
            header.write(into: &writer)
            let bodyLength = 4 + transform.ivLength + inner.count + transform.icvLength
            writer.u8(payloads.first?.type ?? 0)
            writer.u8(0)
            writer.u16(0)
            try writer.patch16(bodyLength, at: 30, field: "payload length")
            try writer.patch32(IKEHeader.length + bodyLength, at: 24, field: "message length")
            return try Self.seal(inner.bytes, behind: writer.bytes, cipher: cipher, iv: iv)
        } catch {
            throw SealError(reason: error.description)
        }
    }

    /// What IntAuth covers of this message, an IKE_INTERMEDIATE one: all of it before encryption, with lengths that leave
    /// out IV, padding and checksum (RFC 9242 §3.3.2).
    public func intermediateOctets() throws(WireError) -> [UInt8] {
        var inner = ByteWriter(capacity: 512)
        try PayloadChain.write(payloads, into: &inner)
        var header = header
        header.nextPayload = EncryptedContent.type
        var writer = ByteWriter(capacity: 32)
        header.write(into: &writer)
        writer.u8(payloads.first?.type ?? 0)
        writer.zeros(3)
        return Self.intermediateOctets(prefix: writer.bytes, inner: inner.bytes)
    }

    /// `prefix` ends with the generic header of the SK payload; both lengths in it are set anew.
    static func intermediateOctets(prefix: [UInt8], inner: [UInt8]) -> [UInt8] {
        let total = UInt32(truncatingIfNeeded: prefix.count + inner.count)
        let payload = UInt16(truncatingIfNeeded: inner.count + 4)
        var result = Array(prefix.prefix(24))
        for shift in stride(from: UInt32(24), through: 0, by: -8) {
            result.append(UInt8(truncatingIfNeeded: total >> shift))
        }
        result += prefix.dropFirst(28).dropLast(2)
        result += [UInt8(truncatingIfNeeded: payload >> 8), UInt8(truncatingIfNeeded: payload)]
        return result + inner
    }

    /// Why a message of ours could not be sealed: a fault of ours, never the peer's.
    public struct SealError: Error, Hashable, Sendable {
        /// What went wrong.
        public let reason: String
    }

    static func seal(
        _ plain: [UInt8],
        behind prefix: [UInt8],
        cipher: MessageCipher,
        iv: [UInt8]
    ) throws(WireError) -> [UInt8] {
        do {
            return prefix + iv + (try cipher.seal(aad: prefix, iv: iv, plaintext: plain))
        } catch {
            throw WireError(.invalidValue("cipher: \(error)"), at: prefix.count)
        }
    }
}
