/// The certificates in the order of loading, each once, bounded in number and in octets.
struct CertificateTable: Sendable {
    private(set) var certificates: [LoadedCertificate] = []
    private var known: Set<[UInt8]> = []
    private var octets = 0

    mutating func add(_ certificate: LoadedCertificate) throws(LoadRefusal) {
        let encoded = certificate.encoded
        if known.contains(encoded) {
            // Loaded again, perhaps for another purpose.
            certificates = certificates.map { $0.encoded == encoded ? certificate : $0 }
            return
        }
        guard certificates.count < LoadLimits.certificates else {
            throw .limit(LoadLimits.certificates, "certificates")
        }
        guard octets + encoded.count <= LoadLimits.certificateOctets else {
            throw .limit(LoadLimits.certificateOctets, "octets of certificates")
        }
        known.insert(encoded)
        octets += encoded.count
        certificates.append(certificate)
    }

    mutating func removeAll() {
        self = CertificateTable()
    }
}
