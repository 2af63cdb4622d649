public import Cryptography

/// What a peer proves itself by.
public struct EAPCredentials: Sendable {
    /// A certificate of ours for EAP-TLS.
    public struct Certificate: Sendable {
        /// The certificate.
        public var certificate: CertificateInfo
        /// The authorities above it that are sent along.
        public var path: [CertificateInfo]
        /// Its key.
        public var key: PrivateKeyInfo

        /// Joins them.
        public init(certificate: CertificateInfo, path: [CertificateInfo], key: PrivateKeyInfo) {
            self.certificate = certificate
            self.path = path
            self.key = key
        }
    }

    /// Who we say we are when the server asks.
    public var identity: [UInt8]
    /// The methods that we take part in, the preferred one first.
    public var methods: [EAPMethod]
    /// The password, in UTF-8.
    public var password: SecretKey?
    /// The NT hash of the password, where that alone is known.
    public var passwordHash: SecretKey?
    /// For EAP-TLS.
    public var certificate: Certificate?

    /// Describes the credentials.
    public init(
        identity: [UInt8],
        methods: [EAPMethod],
        password: SecretKey? = nil,
        passwordHash: SecretKey? = nil,
        certificate: Certificate? = nil
    ) {
        self.identity = identity
        self.methods = methods
        self.password = password
        self.passwordHash = passwordHash
        self.certificate = certificate
    }

    /// Those of the methods for which there is what they need.
    var usable: [EAPMethod] {
        methods.filter { method in
            switch method {
            case .md5, .gtc: password != nil
            case .mschapv2: password != nil || passwordHash != nil
            case .tls: certificate != nil
            }
        }
    }

    /// What a method lacks.
    static func need(of method: EAPMethod) -> String {
        switch method {
        case .md5, .gtc: "a password"
        case .mschapv2: "a password or its NT hash"
        case .tls: "a certificate with its key"
        }
    }
}
