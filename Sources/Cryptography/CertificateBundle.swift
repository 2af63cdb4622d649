/// A CertificateBundle (RFC 7296 §3.6): a SEQUENCE of certificates, tagged [0], and revocation lists, tagged [1].
public enum CertificateBundle {
    /// The certificates in DER, in order; none of what is no bundle.
    public static func certificates(_ octets: [UInt8]) -> [[UInt8]] {
        guard let (tag, whole, end) = element(octets[...]), tag == 0x30, end == octets.endIndex else {
            return []
        }
        var rest = whole
        var found: [[UInt8]] = []
        while !rest.isEmpty, found.count < VerifiedCertificate.mostCertificates {
            guard let (tag, content, end) = element(rest) else { return [] }
            if tag == 0xa0 { found.append(Array(content)) }
            rest = rest[end...]
        }
        return found
    }

    /// The tag, the content, and where the next element begins; lengths of up to three octets.
    private static func element(
        _ octets: ArraySlice<UInt8>
    ) -> (tag: UInt8, content: ArraySlice<UInt8>, end: Int)? {
        guard octets.count >= 2 else { return nil }
        let first = octets.startIndex
        let short = Int(octets[first + 1])
        var (length, start) = (short, first + 2)
        if short >= 0x80 {
            let count = short - 0x80
            guard (1...3).contains(count), octets.count >= 2 + count else { return nil }
            length = octets[start..<start + count].reduce(0) { $0 << 8 | Int($1) }
            start += count
        }
        guard octets.endIndex - start >= length else { return nil }
        return (octets[first], octets[start..<start + length], start + length)
    }
}
