import COpenSSL
import Synchronization

/// What is said of the certificates of the other end.
public enum TLSVerdict: Sendable {
    /// They are believed.
    case believed
    /// They are not; `code` is OpenSSL's number of the reason, if it has one, from which the alert follows.
    case refused(String, code: Int)
    /// This must be asked of the network first: a client asks again with the next `advance`, a server gives up.
    case unknown([RevocationInquiry])
}

/// Where a handshake stands.
public enum TLSProgress: Sendable {
    /// These octets go to the other end, which is to answer; none says that it has more to send.
    case going([UInt8])
    /// This must be asked of the network before the other end's certificates are believed.
    case waiting([RevocationInquiry])
    /// Both ends are done; these octets, if any, go to the other.
    case done([UInt8], masterSessionKey: SecretKey)
    /// It failed for this reason; these octets tell the other end.
    case failed([UInt8], String)
}

/// One end of a TLS handshake that has no transport: octets of the other's go in, its own come out.
///
/// It is EAP-TLS' (RFC 5216, RFC 9190): TLS 1.2 or 1.3, no resumption, both ends with certificates.
public final class TLSSession: Sendable {
    /// Which end it is.
    public enum Role: Sendable {
        /// It speaks first.
        case client
        /// It asks the client for its certificate.
        case server
    }

    private let state: Mutex<TLSState>

    /// An end that proves itself by a certificate.
    ///
    /// - Parameters:
    ///   - path: the authorities above the certificate that are sent along.
    ///   - allowsTLS13: false for TLS 1.2 alone.
    public init(
        _ role: Role,
        certificate: CertificateInfo,
        path: [CertificateInfo],
        key: PrivateKeyInfo,
        allowsTLS13: Bool = true
    ) throws(CryptoError) {
        state = Mutex(try TLSState(role, certificate.parsed, path.map { $0.parsed }, key, allowsTLS13))
    }

    /// Takes octets of the other end's, none where a client begins, and goes on as far as they reach.
    ///
    /// Costs up to some milliseconds: signatures are made and checked.
    /// - Parameter judge: asked about the other end's certificates, in DER, its own first.
    public func advance(
        _ input: [UInt8],
        judge: @escaping @Sendable ([[UInt8]]) -> TLSVerdict
    ) -> TLSProgress {
        state.withLock { $0.advance(input, judge) }
    }

    /// The version that was negotiated, as `TLSv1.3`.
    public var version: String { state.withLock { $0.version } }
}

/// Who is asked about the other end's certificates, and what was said.
private final class TLSJudge {
    let mayWait: Bool
    var ask: ([[UInt8]]) -> TLSVerdict = { _ in .unknown([]) }
    var refusal: String?
    var inquiries: [RevocationInquiry] = []
    /// What OpenSSL takes for success while a verdict is awaited is none.
    var isBelieved = false

    init(mayWait: Bool) { self.mayWait = mayWait }
}

/// OpenSSL's side of it.
///
/// Safe: it owns its pointers, and one thread at a time has it.
@safe
private struct TLSState: ~Copyable {
    private let context: OpaquePointer
    private let connection: OpaquePointer
    /// What the other end sent; `connection` frees it.
    private let incoming: OpaquePointer
    /// What goes there; `connection` frees it.
    private let outgoing: OpaquePointer
    private let judge: TLSJudge
    private var isDone = false

    init(
        _ role: TLSSession.Role,
        _ certificate: Certificate,
        _ path: [Certificate],
        _ key: PrivateKeyInfo,
        _ allowsTLS13: Bool
    ) throws(CryptoError) {
        let method = unsafe role == .client ? TLS_client_method() : TLS_server_method()
        guard let context = unsafe SSL_CTX_new(method) else { throw .exhausted }
        do throws(CryptoError) {
            try unsafe Self.prepare(context, certificate, path, PublicOrPrivateKey(key.encoded))
        } catch {
            unsafe SSL_CTX_free(context)
            ERR_clear_error()
            throw error
        }
        let judge = TLSJudge(mayWait: role == .client)
        let connection = unsafe SSL_new(context)
        let (incoming, outgoing) = unsafe (BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()))
        guard let connection = unsafe connection, let incoming = unsafe incoming,
            let outgoing = unsafe outgoing
        else {
            unsafe SSL_free(connection)
            unsafe BIO_free(incoming)
            unsafe BIO_free(outgoing)
            unsafe SSL_CTX_free(context)
            throw .exhausted
        }
        unsafe SSL_set_bio(connection, incoming, outgoing)
        if !allowsTLS13 {
            _ = unsafe SSL_ctrl(connection, SSL_CTRL_SET_MAX_PROTO_VERSION, Int(TLS1_2_VERSION), nil)
        }
        switch role {
        case .client: unsafe SSL_set_connect_state(connection)
        case .server: unsafe SSL_set_accept_state(connection)
        }
        unsafe SSL_CTX_set_cert_verify_callback(
            context,
            { unsafe TLSState.verify($0, $1) },
            Unmanaged.passUnretained(judge).toOpaque()
        )
        // Settings of the context are copied when the connection is made, all but the callback.
        self.judge = judge
        unsafe (self.context, self.connection) = unsafe (context, connection)
        unsafe (self.incoming, self.outgoing) = unsafe (incoming, outgoing)
    }

    deinit {
        unsafe SSL_free(connection)
        unsafe SSL_CTX_free(context)
    }

    @unsafe private static func prepare(
        _ context: OpaquePointer,
        _ certificate: Certificate,
        _ path: [Certificate],
        _ key: borrowing PublicOrPrivateKey
    ) throws(CryptoError) {
        let leastVersion = unsafe SSL_CTX_ctrl(
            context,
            SSL_CTRL_SET_MIN_PROTO_VERSION,
            Int(TLS1_2_VERSION),
            nil
        )
        try check(Int32(clamping: leastVersion), "SSL_CTX_set_min_proto_version")
        _ = unsafe SSL_CTX_set_options(
            context,
            Option.noTicket | Option.noRenegotiation | Option.legacyServer
        )
        unsafe SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        guard let chain = unsafe OPENSSL_sk_new_null() else { throw .exhausted }
        defer { unsafe OPENSSL_sk_free(chain) }
        for one in path { _ = unsafe OPENSSL_sk_push(chain, UnsafeRawPointer(one.pointer)) }
        try check(
            unsafe SSL_CTX_use_cert_and_key(context, certificate.pointer, key.pointer, chain, 1),
            "SSL_CTX_use_cert_and_key"
        )
    }

    /// SSL_OP_…, which are no constants that Swift can see.
    private enum Option {
        static let noTicket: UInt64 = 1 << 14
        static let noRenegotiation: UInt64 = 1 << 30
        /// Servers that say nothing of renegotiation (RFC 5746), strongSwan's among them: there is none here.
        static let legacyServer: UInt64 = 1 << 2
    }

    var version: String {
        unsafe SSL_get_version(connection).map { unsafe String(cString: $0) } ?? "unknown"
    }

    mutating func advance(_ input: [UInt8], _ ask: @escaping ([[UInt8]]) -> TLSVerdict) -> TLSProgress {
        judge.ask = ask
        defer {
            judge.ask = { _ in .unknown([]) }
            ERR_clear_error()
        }
        if !input.isEmpty {
            guard let count = Int32(exactly: input.count),
                unsafe BIO_write(incoming, input, count) == count
            else { return .failed([], "no memory for what it sent") }
        }
        if !isDone {
            let result = unsafe SSL_do_handshake(connection)
            guard result == 1 else {
                switch unsafe SSL_get_error(connection, result) {
                case SSL_ERROR_WANT_READ: return .going(output())
                case SSL_ERROR_WANT_RETRY_VERIFY: return .waiting(judge.inquiries)
                default: return .failed(output(), judge.refusal ?? Self.errorText())
                }
            }
            guard judge.isBelieved else { return .failed([], "the certificates were never looked at") }
            isDone = true
        }
        // What comes behind the handshake: tickets, and that the server is content (RFC 9190 §2.5).
        var buffer = [UInt8](repeating: 0, count: 64)
        var result: Int32 = 1
        while result > 0 { unsafe result = SSL_read(connection, &buffer, Int32(buffer.count)) }
        switch unsafe SSL_get_error(connection, result) {
        case SSL_ERROR_WANT_READ, SSL_ERROR_ZERO_RETURN: break
        default: return .failed(output(), Self.errorText())
        }
        do throws(CryptoError) {
            return .done(output(), masterSessionKey: try masterSessionKey())
        } catch {
            return .failed(output(), "\(error)")
        }
    }

    /// RFC 5216 §2.3, RFC 9190 §2.3: the first 64 of 128 octets that are exported; with TLS 1.3 the number is part of what
    /// they are made of.
    private func masterSessionKey() throws(CryptoError) -> SecretKey {
        let isTLS13 = unsafe SSL_version(connection) >= TLS1_3_VERSION
        let label = isTLS13 ? "EXPORTER_EAP_TLS_Key_Material" : "client EAP encryption"
        /// The type of EAP-TLS.
        let type: [UInt8] = [0x0d]
        let material = try unsafe SecretKey(count: 128) { (target) throws(CryptoError) in
            let result = unsafe SSL_export_keying_material(
                connection,
                target.baseAddress,
                target.count,
                label,
                label.utf8.count,
                type,
                isTLS13 ? 1 : 0,
                isTLS13 ? 1 : 0
            )
            try check(result, "SSL_export_keying_material")
        }
        return try material.slice(0..<64)
    }

    private func output() -> [UInt8] {
        var octets = [UInt8](repeating: 0, count: unsafe BIO_ctrl_pending(outgoing))
        guard !octets.isEmpty, let count = Int32(exactly: octets.count) else { return [] }
        let read = unsafe Int(BIO_read(outgoing, &octets, count))
        return Array(octets.prefix(max(0, read)))
    }

    /// The first thing that OpenSSL complains of: later ones follow from it.
    private static func errorText() -> String {
        unsafe ERR_reason_error_string(ERR_peek_error()).map { unsafe String(cString: $0) }
            ?? "the handshake ended early"
    }

    /// OpenSSL asks for the verdict on the other end's certificates.
    @unsafe private static func verify(_ store: OpaquePointer?, _ argument: UnsafeMutableRawPointer?) -> Int32
    {
        guard let store = unsafe store, let argument = unsafe argument else { return 0 }
        let judge = unsafe Unmanaged<TLSJudge>.fromOpaque(argument).takeUnretainedValue()
        switch judge.ask(unsafe certificates(store)) {
        case .believed:
            judge.isBelieved = true
            return 1
        case .refused(let reason, let code):
            judge.refusal = reason
            let fallback = X509_V_ERR_CERT_REJECTED
            unsafe X509_STORE_CTX_set_error(store, code > 0 ? Int32(clamping: code) : fallback)
            return 0
        case .unknown(let inquiries):
            judge.inquiries = inquiries
            let index = SSL_get_ex_data_X509_STORE_CTX_idx()
            guard judge.mayWait, let connection = unsafe X509_STORE_CTX_get_ex_data(store, index) else {
                judge.refusal = "it cannot be said in time whether they are revoked"
                return 0
            }
            // Positive, or OpenSSL does not wait (SSL_set_retry_verify).
            return unsafe SSL_ctrl(OpaquePointer(connection), SSL_CTRL_SET_RETRY_VERIFY, 0, nil) > 0 ? 1 : 0
        }
    }

    /// What the other end sent, its own first.
    @unsafe private static func certificates(_ store: OpaquePointer) -> [[UInt8]] {
        var result: [[UInt8]] = []
        let leaf = unsafe X509_STORE_CTX_get0_cert(store)
        if let leaf = unsafe leaf,
            let octets = try? unsafe EncodedObject.encode("i2d_X509", { unsafe i2d_X509(leaf, $0) })
        {
            result.append(octets)
        }
        let others = unsafe X509_STORE_CTX_get0_untrusted(store)
        let count = unsafe OPENSSL_sk_num(others)
        for index in 0..<min(max(0, count), Int32(VerifiedCertificate.mostCertificates)) {
            guard let entry = unsafe OPENSSL_sk_value(others, index) else { continue }
            let other = OpaquePointer(entry)
            let octets = try? unsafe EncodedObject.encode("i2d_X509", { unsafe i2d_X509(other, $0) })
            if let octets, !result.contains(octets) { result.append(octets) }
        }
        return result
    }
}
