import COpenSSL

/// A parsed certificate of OpenSSL's.
///
/// Safe: it owns its pointer, and OpenSSL's certificates may be shared between threads once they are parsed.
@safe
final class Certificate: @unchecked Sendable {
    let pointer: OpaquePointer

    /// Parses one DER encoding, and nothing behind it.
    init(der octets: [UInt8]) throws(CryptoError) {
        guard octets.count <= EncodedObject.longest, EncodedObject.isDER(octets) else { throw .invalidLength }
        let parsed = unsafe EncodedObject.decode(octets) { unsafe d2i_X509(nil, $0, $1) }
        guard let certificate = unsafe parsed else {
            ERR_clear_error()
            throw .unsupported("X.509 certificate")
        }
        unsafe pointer = certificate
        try EncodedObject.checkWhole(octets, encoded())
    }

    init(owning certificate: OpaquePointer) { unsafe pointer = certificate }

    deinit { unsafe X509_free(pointer) }

    func encoded() throws(CryptoError) -> [UInt8] {
        try unsafe EncodedObject.encode("i2d_X509") { unsafe i2d_X509(pointer, $0) }
    }

    /// The subject as text.
    func subject() -> String { (try? unsafe CertificateText.name(X509_get_subject_name(pointer))) ?? "" }

    /// The subject as DER, as an identity of type ID_DER_ASN1_DN has it.
    func subjectName() throws(CryptoError) -> [UInt8] {
        guard let name = unsafe X509_get_subject_name(pointer) else {
            throw .backend("X509_get_subject_name")
        }
        return try unsafe EncodedObject.encode("i2d_X509_NAME") { unsafe i2d_X509_NAME(name, $0) }
    }

    /// Its SubjectPublicKeyInfo.
    func publicKey() throws(CryptoError) -> PublicKeyInfo {
        guard let key = unsafe X509_get0_pubkey(pointer) else { throw .unsupported("key of the certificate") }
        guard unsafe EVP_PKEY_up_ref(key) == 1 else { throw .exhausted }
        let shared = unsafe SharedPublicKey(PublicOrPrivateKey(owning: key))
        // The octets of the certificate itself: to encode the key anew takes as long as to parse it.
        let info = unsafe X509_get_X509_PUBKEY(pointer)
        return try PublicKeyInfo(
            shared,
            encoded: unsafe EncodedObject.encode("i2d_X509_PUBKEY") { unsafe i2d_X509_PUBKEY(info, $0) },
            keyID: Digest.sha1([unsafe CertificateText.octets(X509_get0_pubkey_bitstr(pointer))])
        )
    }

    /// Names of its subjectAltName (RFC 5280 §4.2.1.6), those that identities can be compared with.
    func alternativeNames() -> [AlternativeName] {
        let extensionNames = unsafe X509_get_ext_d2i(pointer, NID_subject_alt_name, nil, nil)
        guard let names = unsafe extensionNames else { return [] }
        let stack = OpaquePointer(names)
        defer { unsafe GENERAL_NAMES_free(stack) }
        var result = [AlternativeName]()
        let count = unsafe OPENSSL_sk_num(stack)
        for index in 0..<max(0, count) {
            guard let entry = unsafe OPENSSL_sk_value(stack, index),
                let name = unsafe AlternativeName(entry.assumingMemoryBound(to: GENERAL_NAME.self))
            else { continue }
            result.append(name)
        }
        return result
    }

    /// True when it names lists of what was revoked, or a responder that knows (RFC 5280 §4.2.1.13, §4.2.2.1).
    var saysWhereListsAre: Bool {
        unsafe X509_get_ext_by_NID(pointer, NID_crl_distribution_points, -1) >= 0
            || X509_get_ext_by_NID(pointer, NID_info_access, -1) >= 0
    }

    /// False when its key usage allows no signature (RFC 4945 §5.1.3.2); without that extension all is allowed.
    func maySign() -> Bool {
        let usage = unsafe X509_get_key_usage(pointer)
        return usage & UInt32(KU_DIGITAL_SIGNATURE | KU_NON_REPUDIATION) != 0
    }
}

/// A name in the subjectAltName of a certificate.
public enum AlternativeName: Hashable, Sendable {
    /// dNSName.
    case dns(String)
    /// rfc822Name.
    case email(String)
    /// iPAddress: 4 or 16 octets.
    case address([UInt8])
    /// directoryName in DER.
    case directory([UInt8])

    @unsafe fileprivate init?(_ entry: UnsafePointer<GENERAL_NAME>) {
        var type: Int32 = 0
        guard let value = unsafe GENERAL_NAME_get0_value(entry, &type) else { return nil }
        switch type {
        case GEN_DNS, GEN_EMAIL:
            let octets = unsafe CertificateText.octets(
                UnsafePointer(value.assumingMemoryBound(to: ASN1_STRING.self))
            )
            // A NUL in a name is an old way to make two of it.
            guard !octets.contains(0) else { return nil }
            let text = String(decoding: octets, as: UTF8.self)
            self = type == GEN_DNS ? .dns(text) : .email(text)
        case GEN_IPADD:
            let octets = unsafe CertificateText.octets(
                UnsafePointer(value.assumingMemoryBound(to: ASN1_STRING.self))
            )
            guard octets.count == 4 || octets.count == 16 else { return nil }
            self = .address(octets)
        case GEN_DIRNAME:
            let name = OpaquePointer(value)
            let encoded = try? unsafe EncodedObject.encode("i2d_X509_NAME") { unsafe i2d_X509_NAME(name, $0) }
            guard let encoded else { return nil }
            self = .directory(encoded)
        default: return nil
        }
    }
}
