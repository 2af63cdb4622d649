import COpenSSL

extension Certificate {
    /// URIs of OCSP responders that it names (RFC 5280 §4.2.2.1).
    var responderURIs: [String] {
        let found = unsafe X509_get1_ocsp(pointer)
        guard let found = unsafe found else { return [] }
        defer { unsafe X509_email_free(found) }
        var result = [String]()
        for index in 0..<max(0, unsafe OPENSSL_sk_num(found)) {
            guard let entry = unsafe OPENSSL_sk_value(found, index) else { continue }
            result.append(unsafe String(cString: entry.assumingMemoryBound(to: CChar.self)))
        }
        return result
    }

    /// URIs of complete lists (RFC 5280 §4.2.1.13).
    var listURIs: [String] {
        unsafe DistributionPoints.uris(X509_get_ext_d2i(pointer, NID_crl_distribution_points, nil, nil))
    }

    /// URIs of lists of changes (RFC 5280 §4.2.1.15).
    var freshestListURIs: [String] {
        unsafe DistributionPoints.uris(X509_get_ext_d2i(pointer, NID_freshest_crl, nil, nil))
    }
}

extension RevocationListInfo {
    /// URIs of lists of the changes since (RFC 5280 §5.2.6).
    var freshestListURIs: [String] {
        let decoded = unsafe EncodedObject.decode(encoded) { unsafe d2i_X509_CRL(nil, $0, $1) }
        guard let list = unsafe decoded else { return [] }
        defer { unsafe X509_CRL_free(list) }
        return unsafe DistributionPoints.uris(X509_CRL_get_ext_d2i(list, NID_freshest_crl, nil, nil))
    }
}

/// The extension of distribution points.
private enum DistributionPoints {
    /// The URIs in it; frees it.
    @unsafe static func uris(_ value: UnsafeMutableRawPointer?) -> [String] {
        guard let value = unsafe value else { return [] }
        let points = OpaquePointer(value)
        defer { unsafe CRL_DIST_POINTS_free(points) }
        var result = [String]()
        for index in 0..<max(0, unsafe OPENSSL_sk_num(points)) {
            guard let entry = unsafe OPENSSL_sk_value(points, index),
                let place = unsafe entry.assumingMemoryBound(to: DIST_POINT.self).pointee.distpoint,
                unsafe place.pointee.type == 0, let names = unsafe place.pointee.name.fullname
            else { continue }
            for number in 0..<max(0, unsafe OPENSSL_sk_num(names)) {
                guard let name = unsafe OPENSSL_sk_value(names, number) else { continue }
                var type: Int32 = 0
                let text = unsafe GENERAL_NAME_get0_value(
                    name.assumingMemoryBound(to: GENERAL_NAME.self),
                    &type
                )
                guard type == GEN_URI, let text = unsafe text else { continue }
                let octets = unsafe CertificateText.octets(
                    UnsafePointer(text.assumingMemoryBound(to: ASN1_STRING.self))
                )
                if !octets.contains(0) { result.append(String(decoding: octets, as: UTF8.self)) }
            }
        }
        return result
    }
}
