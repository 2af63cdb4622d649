public import Cryptography
public import EAP
import Primitives

/// An EAP server for the tests: asks for an identity, then for one method, with whatever faults the test wants.
public struct EAPServer {
    /// What it does wrong.
    public enum Fault: Sendable {
        /// Nothing.
        case none
        /// Says success before anything else.
        case earlySuccess
        /// Says success in place of its proof that it knows the password.
        case noProof
        /// Proves another password.
        case wrongProof
        /// Changes the method in the middle.
        case changesMethod
    }

    /// The method that it asks for.
    public var method: EAPMethod
    /// What the peer must know.
    public var password = Array("Ar3etTnp".utf8)
    /// What it does wrong.
    public var fault = Fault.none
    private let challenge = [UInt8](repeating: 7, count: 16)
    /// Who the peer says it is.
    public private(set) var identity: [UInt8]?
    /// What the peer would take instead.
    public private(set) var naks: [UInt8]?
    /// The master session key.
    public private(set) var key: SecretKey?
    private var identifier: UInt8 = 40
    private var awaitsAcknowledgement = false
    private var isOver = false

    /// A server that asks for one method.
    public init(_ method: EAPMethod) { self.method = method }

    /// What it begins with.
    public var first: [UInt8] {
        if fault == .earlySuccess { return EAPPacket(.success, identifier).encoded ?? [] }
        return EAPPacket(.request, identifier, type: 1).encoded ?? []
    }

    /// Answers a response; nil when the peer does not keep to the protocol.
    public mutating func answer(_ octets: [UInt8]) throws -> [UInt8]? {
        let packet = try EAPPacket(parsing: octets)
        guard packet.code == .response, packet.identifier == identifier, !isOver else { return nil }
        identifier &+= 1
        if packet.type == 1, identity == nil {
            identity = packet.data
            return try request()
        }
        if packet.type == 3 {
            naks = packet.data
            guard let other = packet.data.first.flatMap({ EAPMethod(rawValue: $0) }) else {
                return end(.failure)
            }
            method = other
            return try request()
        }
        guard packet.type == method.rawValue else { return nil }
        switch method {
        case .md5:
            let expected = try MD5Challenge.response(
                identifier: packet.identifier,
                password: SecretKey(copying: password),
                challenge: challenge
            )
            return end(Array(packet.data.dropFirst().prefix(16)) == expected ? .success : .failure)
        case .gtc: return end(packet.data == password ? .success : .failure)
        case .mschapv2: return try mschapv2(packet.data)
        case .tls: return nil
        }
    }

    private func request() throws -> [UInt8]? {
        switch method {
        case .md5: ask([16] + challenge + Array("server".utf8))
        case .gtc: ask(Array("Password: ".utf8))
        case .mschapv2: ask([1, 9, 0, 27, 16] + challenge + Array("server".utf8))
        case .tls: ask([0x20])
        }
    }

    private func ask(_ data: [UInt8]) -> [UInt8]? {
        EAPPacket(.request, identifier, type: method.rawValue, data: data).encoded
    }

    private mutating func end(_ code: EAPPacket.Code) -> [UInt8]? {
        isOver = true
        return EAPPacket(code, identifier).encoded
    }

    private mutating func mschapv2(_ data: [UInt8]) throws -> [UInt8]? {
        if data == [3], awaitsAcknowledgement { return end(.success) }
        if data == [4] { return end(.failure) }
        guard data.count >= 54, data[0] == 2, data[1] == 9, data[4] == 49 else { return nil }
        let exchange = try MSCHAPv2(
            hash: MSCHAPv2.hash(ofPassword: SecretKey(copying: password)),
            userName: Array(data[54...]),
            peerChallenge: Array(data[5..<21]),
            authenticatorChallenge: challenge
        )
        guard exchange.response == Array(data[29..<53]) else {
            let text = Array("E=691 R=0 C=00 V=3 M=no".utf8)
            return ask([4, 9, 0, UInt8(4 + text.count)] + text)
        }
        if fault == .noProof { return end(.success) }
        if fault == .changesMethod {
            return EAPPacket(.request, identifier, type: EAPMethod.gtc.rawValue).encoded
        }
        key = try exchange.masterSessionKey()
        awaitsAcknowledgement = true
        var proof = try exchange.authenticatorResponse()
        if fault == .wrongProof { proof[10] ^= 1 }
        let body = proof + Array(" M=welcome".utf8)
        return ask([3, 9, 0, UInt8(4 + body.count)] + body)
    }
}
