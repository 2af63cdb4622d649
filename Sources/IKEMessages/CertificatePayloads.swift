import Primitives

/// How a CERT or CERTREQ payload encodes what it holds (RFC 7296 §3.6, RFC 7670).
public enum CertificateEncoding {
    /// X.509 Certificate - Signature: one certificate in DER.
    public static let x509Signature: UInt8 = 4
    /// Certificate Revocation List.
    public static let revocationList: UInt8 = 7
    /// Hash and URL of an X.509 certificate.
    public static let hashAndURL: UInt8 = 12
    /// Hash and URL of an X.509 bundle.
    public static let hashAndURLOfBundle: UInt8 = 13
    /// Raw Public Key: a SubjectPublicKeyInfo.
    public static let rawPublicKey: UInt8 = 15
}

/// A Certificate payload (RFC 7296 §3.6).
public struct CERTPayload: Hashable, Sendable {
    /// One of `CertificateEncoding`.
    public var encoding: UInt8
    /// The certificate.
    public var data: [UInt8]

    /// Makes a payload.
    public init(_ data: [UInt8], encoding: UInt8 = CertificateEncoding.x509Signature) {
        self.encoding = encoding
        self.data = data
    }

    init(parsing reader: inout ByteReader) throws(WireError) {
        encoding = try reader.u8()
        data = reader.rest()
    }

    func write(into writer: inout ByteWriter) {
        writer.u8(encoding)
        writer.append(data)
    }
}

/// A Certificate Request payload (RFC 7296 §3.7).
public struct CERTREQPayload: Hashable, Sendable {
    /// SHA-1 of a SubjectPublicKeyInfo.
    public static let hashLength = 20

    /// One of `CertificateEncoding`.
    public var encoding: UInt8
    /// SHA-1 of the SubjectPublicKeyInfo of each authority that is trusted.
    public var authorities: [[UInt8]]

    /// Makes a payload.
    public init(authorities: [[UInt8]], encoding: UInt8 = CertificateEncoding.x509Signature) {
        self.encoding = encoding
        self.authorities = authorities
    }

    /// What is left behind the last whole hash is not looked at: other encodings have other contents.
    init(parsing reader: inout ByteReader) throws(WireError) {
        encoding = try reader.u8()
        let octets = reader.rest()
        authorities = stride(from: 0, to: octets.count - octets.count % Self.hashLength, by: Self.hashLength)
            .map { Array(octets[$0..<$0 + Self.hashLength]) }
    }

    func write(into writer: inout ByteWriter) {
        writer.u8(encoding)
        for hash in authorities { writer.append(hash) }
    }
}
