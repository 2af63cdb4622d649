import Cryptography
import Primitives

/// EAP-MSCHAPv2 (draft-kamath-pppext-eap-mschapv2-02 §2): challenge, response, the server's proof.
struct MSCHAPv2Peer: Sendable {
    /// What a packet is.
    private enum Operation {
        static let challenge: UInt8 = 1
        static let response: UInt8 = 2
        static let success: UInt8 = 3
        static let failure: UInt8 = 4
    }

    private let hash: SecretKey
    private let name: [UInt8]
    /// What answers the challenge; nil while there was none.
    private var exchange: MSCHAPv2?
    /// The master session key, once the server has proved that it knows the password.
    private(set) var key: SecretKey?

    init(hash: SecretKey, name: [UInt8]) {
        self.hash = hash
        self.name = name
    }

    /// - Parameter challenge: makes 16 octets of chance.
    mutating func answer(_ data: [UInt8], challenge: () -> [UInt8]) -> EAPMethodResult {
        var reader = ByteReader(data.span)
        guard let operation = try? reader.u8(), let identifier = try? reader.u8(),
            let length = try? reader.u16(), Int(length) == data.count
        else { return .failed(.malformed("its MSCHAPv2 packet cannot be read")) }
        let content = reader.rest()
        do throws(CryptoError) {
            switch operation {
            case Operation.challenge: return try respond(identifier, content, challenge())
            case Operation.success: return try check(content)
            case Operation.failure:
                let reason = Self.reason(content)
                return .tellAndFail([Operation.failure], .refused("it refuses the password: \(reason)"))
            default: return .failed(.malformed("its MSCHAPv2 packet is of an unknown kind"))
            }
        } catch {
            return .failed(.ours("mschapv2: \(error)"))
        }
    }

    private mutating func respond(
        _ identifier: UInt8,
        _ content: [UInt8],
        _ ours: [UInt8]
    ) throws(CryptoError) -> EAPMethodResult {
        guard key == nil, content.first == UInt8(MSCHAPv2.challengeLength),
            content.count > MSCHAPv2.challengeLength
        else { return .failed(.malformed("its MSCHAPv2 challenge cannot be read")) }
        let theirs = Array(content[1...MSCHAPv2.challengeLength])
        let exchange = try MSCHAPv2(
            hash: hash,
            userName: name,
            peerChallenge: ours,
            authenticatorChallenge: theirs
        )
        self.exchange = exchange
        let value = ours + [UInt8](repeating: 0, count: 8) + exchange.response + [0]
        let body = [UInt8(truncatingIfNeeded: value.count)] + value + name
        guard let length = UInt16(exactly: 4 + body.count) else { throw .invalidLength }
        return .respond(
            [
                Operation.response, identifier, UInt8(truncatingIfNeeded: length >> 8),
                UInt8(truncatingIfNeeded: length),
            ] + body
        )
    }

    /// `S=` and 40 digits, maybe with a message behind.
    private mutating func check(_ content: [UInt8]) throws(CryptoError) -> EAPMethodResult {
        guard let exchange else { return .failed(.early) }
        let expected = try exchange.authenticatorResponse()
        guard ConstantTime.equal(expected, Array(content.prefix(expected.count))) else {
            return .failed(.server("it does not know the password itself"))
        }
        key = try exchange.masterSessionKey()
        return .respond([Operation.success])
    }

    /// `E=691 R=1 …`: the number says why (RFC 2759 §6).
    private static func reason(_ content: [UInt8]) -> String {
        let words = content.prefix(256).split(separator: UInt8(ascii: " "))
        let number = words.lazy.compactMap { word -> Int? in
            guard word.starts(with: "E=".utf8) else { return nil }
            return Int(String(decoding: word.dropFirst(2), as: UTF8.self))
        }.first
        switch number {
        case 646: return "no logon at this hour"
        case 647: return "the account is disabled"
        case 648: return "the password has expired"
        case 649: return "no permission to dial in"
        case 691: return "wrong user name or password"
        case 709: return "the password could not be changed"
        case let number?: return "error \(number)"
        case nil: return "no reason is said"
        }
    }
}
