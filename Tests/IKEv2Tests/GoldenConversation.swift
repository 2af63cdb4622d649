import Cryptography
import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Primitives
import TestSupport

@testable import IKEv2

/// A recorded conversation of two strongSwans, with the keys that its daemons wrote down.
struct GoldenConversation {
    /// One IKE message in its place.
    struct Message {
        let octets: [UInt8]
        let header: IKEHeader
    }

    /// The keys of one IKE_SA, made by the test from a recorded Diffie-Hellman secret.
    struct Keys {
        let suite: IKESuite
        let skD: SecretKey
        let initiatorCipher: MessageCipher
        let responderCipher: MessageCipher

        func cipher(_ header: IKEHeader) -> MessageCipher {
            header.isFromInitiator ? initiatorCipher : responderCipher
        }
    }

    let id: String
    let sharedKey: String
    let messages: [Message]
    /// Certificates in DER by name: `ca`, `a`, `b`.
    let certificates: [String: [UInt8]]
    private var secrets: [(label: String, octets: [UInt8])]

    init(_ vector: JSON) {
        id = vector["id"].text
        sharedKey = vector["psk_ascii"].text
        certificates = Dictionary(
            ["ca", "a", "b"].map { ($0, vector["certs_der_hex"][$0].octets) }.filter { !$0.1.isEmpty }
        ) { first, _ in first }
        messages = vector["packets"].elements.compactMap { packet in
            var octets = packet["udp_payload"].octets
            if packet["src"].text.hasSuffix(":4500") {
                guard octets.starts(with: [0, 0, 0, 0]) else { return nil }
                octets.removeFirst(4)
            }
            guard let header = try? ReceivedMessage.header(of: octets) else { return nil }
            return Message(octets: octets, header: header)
        }
        secrets = vector["secrets_initiator"].elements.map { ($0["label"].text, $0["hex"].octets) }
    }

    static var all: [JSON] {
        Vectors.areAvailable ? Vectors.load("golden/strongswan_handshakes")["cases"].elements : []
    }

    /// The IKEv2 conversations with certificates.
    static var withCertificates: [GoldenConversation] {
        all.filter { $0["version"].int == 2 && $0["auth"].text == "cert" }.map { GoldenConversation($0) }
    }

    /// The IKEv2 conversations with a pre-shared key.
    static var withSharedKeys: [GoldenConversation] {
        all.filter { $0["version"].int == 2 && $0["auth"].text == "psk" }.map { GoldenConversation($0) }
    }

    /// The next recorded secret of this name; taking them in order shows that none was left out.
    mutating func take(_ label: String) -> [UInt8]? {
        guard let index = secrets.firstIndex(where: { $0.label == label }) else { return nil }
        return secrets.remove(at: index).octets
    }

    var remainingLabels: Set<String> { Set(secrets.map { $0.label }) }

    static func clear(_ octets: [UInt8]) throws -> [Payload] {
        guard case .clear(let payloads) = try ReceivedMessage(parsing: octets).content else {
            throw PuppetError.unexpected
        }
        return payloads
    }

    /// The exchange that led to an IKE_SA: the last IKE_SA_INIT request and its response.
    func initExchange() throws -> (request: Message, response: Message) {
        let response = messages.first { $0.header.exchange == .ikeSAInit && $0.header.responderSPI != 0 }
        let request = messages.last { $0.header.exchange == .ikeSAInit && !$0.header.isResponse }
        return try (request.unwrapped, response.unwrapped)
    }

    /// Keys by RFC 7296 §2.18, of an IKE_SA that replaces another: the engine does not rekey yet.
    static func rekeyed(
        suite: IKESuite,
        seed: SecretKey,
        nonces: [UInt8],
        spis: [UInt8]
    ) throws -> (keys: Keys, skPi: SecretKey, skPr: SecretKey, parts: [SecretKey]) {
        let (integrity, encryption) = (suite.cipher.integrityKeyLength, suite.cipher.encryptionKeyLength)
        let prf = suite.prf.keyLength
        let lengths = [prf, integrity, integrity, encryption, encryption, prf, prf]
        let seeds: [PRFInput] = [.bytes(nonces), .bytes(spis)]
        let all = try PRF.expand(suite.prf, key: seed, seed: seeds, count: lengths.reduce(0, +))
        var offset = 0
        let parts = try lengths.map { length in
            defer { offset += length }
            return try all.slice(offset..<offset + length)
        }
        let hasIntegrity = integrity > 0
        let keys = Keys(
            suite: suite,
            skD: parts[0],
            initiatorCipher: try MessageCipher(
                suite.cipher,
                encryptionKey: parts[3],
                integrityKey: hasIntegrity ? parts[1] : nil
            ),
            responderCipher: try MessageCipher(
                suite.cipher,
                encryptionKey: parts[4],
                integrityKey: hasIntegrity ? parts[2] : nil
            )
        )
        return (keys, parts[5], parts[6], parts)
    }

    /// The plaintext of a message or fragment with its padding, and the two parts.
    static func plaintext(
        _ message: Message,
        _ keys: Keys
    ) throws -> (prefix: [UInt8], iv: [UInt8], chain: [UInt8], padding: [UInt8]) {
        // A fragment says before the IV which one it is (RFC 7383 §2.5).
        let start = message.header.nextPayload == 53 ? 36 : 32
        let ivEnd = start + keys.suite.cipher.ivLength
        guard message.octets.count > ivEnd else { throw PuppetError.unexpected }
        let prefix = Array(message.octets[..<start])
        let iv = Array(message.octets[start..<ivEnd])
        let plain = try keys.cipher(message.header).open(
            aad: prefix,
            iv: iv,
            sealed: Array(message.octets[ivEnd...])
        )
        let padLength = Int(try plain.last.unwrapped)
        guard padLength < plain.count else { throw PuppetError.unexpected }
        let cut = plain.count - 1 - padLength
        return (prefix, iv, Array(plain[..<cut]), Array(plain[cut...]))
    }
}
