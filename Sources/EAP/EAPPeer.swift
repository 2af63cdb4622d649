public import Cryptography
public import Primitives

/// The peer's side of a conversation with an EAP server (RFC 3748 §4, RFC 4137 §4).
///
/// Its only good end is EAP-Success after the method came to its own: a success that comes earlier is a failure, whatever it
/// says. One request has one answer; what goes on between is IKE's, which loses and repeats nothing.
public struct EAPPeer: Sendable {
    /// What is to be done next.
    public enum Step: Sendable {
        /// This packet goes to the server.
        case respond([UInt8])
        /// Slow work first: its outcome goes to `take`.
        case compute(EAPWork)
        /// We are believed.
        case succeeded(EAPOutcome)
        /// It is over.
        case failed(EAPFailure)
    }

    /// A method at work.
    private enum Method {
        case md5
        case gtc
        case mschapv2(MSCHAPv2Peer)
        case tls(TLSPeer)

        var name: EAPMethod {
            switch self {
            case .md5: .md5
            case .gtc: .gtc
            case .mschapv2: .mschapv2
            case .tls: .tls
            }
        }
    }

    /// Requests answered at most: a handshake of TLS with 64 KiB of certificates takes 64.
    public static let mostRounds = 128
    /// Octets of a packet that is looked at.
    static let longestPacket = 16_384

    private var credentials: EAPCredentials
    private var method: Method?
    /// The request that is being worked on.
    private var identifier: UInt8 = 0
    private var rounds = 0
    /// What makes every further packet a failure: the server is told first.
    private var failure: EAPFailure?
    /// What was declined last: the reason if the server has nothing else.
    private var declined: String?

    /// Begins; the server speaks first.
    public init(_ credentials: EAPCredentials) {
        self.credentials = credentials
    }

    /// Takes part in no other methods from now on: a server that nothing has proved yet must not get a password, nor an
    /// answer by which to guess one.
    public mutating func restrict(to methods: [EAPMethod]) {
        credentials.methods.removeAll { !methods.contains($0) }
    }

    /// The method that the server chose; nil while it has not.
    public var chosen: EAPMethod? { method?.name }

    /// Takes a packet of the server's.
    public mutating func receive(_ octets: [UInt8], entropy: inout any EntropySource) -> Step {
        guard octets.count <= Self.longestPacket, let packet = try? EAPPacket(parsing: octets) else {
            return .failed(.malformed("its EAP packet cannot be read"))
        }
        switch packet.code {
        case .request:
            rounds += 1
            guard rounds <= Self.mostRounds else {
                return .failed(.malformed("it asked more than \(Self.mostRounds) times"))
            }
            identifier = packet.identifier
            if let failure { return .failed(failure) }
            return answer(packet, entropy: &entropy)
        case .success: return finish()
        case .failure:
            return .failed(failure ?? declined.map { .method($0) } ?? .refused(refusal))
        case .response: return .failed(.malformed("it answers where it should ask"))
        }
    }

    /// Takes the outcome of slow work.
    public mutating func take(_ progress: TLSProgress) -> Step {
        guard case .tls(var peer) = method else { return .failed(.malformed("nothing was computed")) }
        let result = peer.take(progress)
        method = .tls(peer)
        return step(of: result)
    }

    private var refusal: String {
        guard let method else { return "it refuses '\(identityText)' without asking for a proof" }
        return "it refuses '\(identityText)' by \(method.name.name)"
    }

    private var identityText: String { String(decoding: credentials.identity.prefix(256), as: UTF8.self) }

    private func finish() -> Step {
        if let failure { return .failed(failure) }
        switch method {
        case nil: return .failed(.early)
        case .md5: return .succeeded(EAPOutcome(method: .md5, key: nil))
        case .gtc: return .succeeded(EAPOutcome(method: .gtc, key: nil))
        case .mschapv2(let peer):
            guard let key = peer.key else { return .failed(.early) }
            return .succeeded(EAPOutcome(method: .mschapv2, key: key))
        case .tls(let peer):
            guard let key = peer.key else { return .failed(.early) }
            return .succeeded(EAPOutcome(method: .tls, key: key))
        }
    }

    private mutating func answer(_ packet: EAPPacket, entropy: inout any EntropySource) -> Step {
        switch packet.type {
        case EAPType.identity: return respond(EAPType.identity, credentials.identity)
        case EAPType.notification: return respond(EAPType.notification, [])
        default: break
        }
        if method == nil {
            declined = nil
            guard let wanted = EAPMethod(rawValue: packet.type), credentials.usable.contains(wanted) else {
                return decline(packet)
            }
            do throws(CryptoError) {
                try begin(wanted)
            } catch {
                return .failed(.ours("\(wanted.name) cannot be carried out: \(error)"))
            }
        }
        guard let method, method.name.rawValue == packet.type else {
            // RFC 3748 §2.1: one conversation, one method.
            return .failed(.malformed("it changes the method"))
        }
        return carryOut(method, packet, &entropy)
    }

    private mutating func begin(_ wanted: EAPMethod) throws(CryptoError) {
        switch wanted {
        case .md5: method = .md5
        case .gtc: method = .gtc
        case .mschapv2:
            var hash = credentials.passwordHash
            if let password = credentials.password { hash = try MSCHAPv2.hash(ofPassword: password) }
            guard let hash else { throw .invalidKeyLength }
            method = .mschapv2(MSCHAPv2Peer(hash: hash, name: credentials.identity))
        case .tls:
            guard let own = credentials.certificate else { throw .invalidKeyLength }
            let session = try TLSSession(.client, certificate: own.certificate, path: own.path, key: own.key)
            method = .tls(TLSPeer(session))
        }
    }

    private mutating func carryOut(
        _ current: Method,
        _ packet: EAPPacket,
        _ entropy: inout any EntropySource
    ) -> Step {
        switch current {
        case .md5: return md5(packet)
        case .gtc:
            guard let password = credentials.password else { return .failed(.ours("gtc lacks a password")) }
            return respond(EAPMethod.gtc.rawValue, GenericTokenCard.response(password))
        case .mschapv2(var peer):
            let result = peer.answer(packet.data, challenge: { entropy.bytes(MSCHAPv2.challengeLength) })
            method = .mschapv2(peer)
            return step(of: result)
        case .tls(var peer):
            let result = peer.answer(packet.data)
            method = .tls(peer)
            return step(of: result)
        }
    }

    /// MD5-Challenge: a length, as many octets, and a name that says nothing to us.
    private mutating func md5(_ packet: EAPPacket) -> Step {
        var reader = ByteReader(packet.data.span)
        guard let length = try? reader.u8(), length > 0, let challenge = try? reader.bytes(Int(length)),
            let password = credentials.password
        else { return .failed(.malformed("its challenge cannot be read")) }
        do throws(CryptoError) {
            let value = try MD5Challenge.response(
                identifier: packet.identifier,
                password: password,
                challenge: challenge
            )
            let data = [UInt8(truncatingIfNeeded: value.count)] + value + credentials.identity
            return respond(EAPMethod.md5.rawValue, data)
        } catch {
            return .failed(.ours("md5: \(error)"))
        }
    }

    /// Says which methods we would take instead (RFC 3748 §5.3).
    private mutating func decline(_ packet: EAPPacket) -> Step {
        let usable = credentials.usable.map { $0.rawValue }
        let name = EAPMethod(rawValue: packet.type)?.name ?? "method \(packet.type)"
        let ours = credentials.methods.map { method in
            method.name
                + (credentials.usable.contains(method)
                    ? "" : " (which lacks \(EAPCredentials.need(of: method)))")
        }
        let allowed = ours.isEmpty ? "none that proves it as well" : ours.joined(separator: ", ")
        let text = "it asks for \(name), allowed here is \(allowed)"
        declined = text
        guard !usable.isEmpty else {
            failure = .method(text)
            return respond(EAPType.nak, [0])
        }
        guard packet.type == EAPType.expanded else { return respond(EAPType.nak, usable) }
        // §5.3.2: an expanded type is declined by expanded ones, of vendor 0.
        let vendor: [UInt8] = [0, 0, 0]
        let list = usable.flatMap { type -> [UInt8] in [EAPType.expanded] + vendor + [0, 0, 0, type] }
        return respond(EAPType.expanded, vendor + [0, 0, 0, EAPType.nak] + list)
    }

    private mutating func step(of result: EAPMethodResult) -> Step {
        switch result {
        case .respond(let data):
            guard let method else { return .failed(.early) }
            return respond(method.name.rawValue, data)
        case .compute(let work): return .compute(work)
        case .failed(let reason): return .failed(reason)
        case .tellAndFail(let data, let reason):
            failure = reason
            guard let method else { return .failed(reason) }
            return respond(method.name.rawValue, data)
        }
    }

    private func respond(_ type: UInt8, _ data: [UInt8]) -> Step {
        guard let octets = EAPPacket(.response, identifier, type: type, data: data).encoded else {
            return .failed(.ours("an EAP response is too long"))
        }
        return .respond(octets)
    }
}

/// What an EAP method says to a request.
enum EAPMethodResult {
    /// These octets behind the type.
    case respond([UInt8])
    /// Slow work first.
    case compute(EAPWork)
    /// Nothing more.
    case failed(EAPFailure)
    /// These octets, and then it is over.
    case tellAndFail([UInt8], EAPFailure)
}

/// Work of a method that takes up to some milliseconds.
public struct EAPWork: Sendable {
    /// The handshake.
    public let session: TLSSession
    /// What the server sent.
    public let input: [UInt8]

    /// The same when the handshake has taken the octets, and waits for the network.
    public func again() -> EAPWork { EAPWork(session: session, input: []) }
}

/// How a conversation ended well.
public struct EAPOutcome: Sendable {
    /// By which method.
    public let method: EAPMethod
    /// The master session key, of 64 octets; nil for methods that make none.
    public let key: SecretKey?
}

/// Why a conversation failed; the texts are for logs and hold no secret.
public enum EAPFailure: Error, Hashable, Sendable {
    /// The server does not believe us.
    case refused(String)
    /// It wants a method that we do not take part in.
    case method(String)
    /// We do not believe it.
    case server(String)
    /// It does not keep to the protocol.
    case malformed(String)
    /// It says that we succeeded before the method did.
    case early
    /// Something failed here.
    case ours(String)

    /// As one line.
    public var text: String {
        switch self {
        case .refused(let text), .method(let text), .server(let text), .malformed(let text), .ours(let text):
            text
        case .early: "it says that we succeeded before any method did"
        }
    }
}
