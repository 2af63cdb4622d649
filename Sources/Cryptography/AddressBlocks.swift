import COpenSSL

/// Addresses that a certificate lets its owner stand for (RFC 3779): both ends of a range, 4 or 16 octets each.
public struct AddressBlock: Hashable, Sendable {
    /// The first address.
    public let first: [UInt8]
    /// The last one.
    public let last: [UInt8]
}

/// The address blocks of certificates; OpenSSL's verifier sees to it that each lies within its issuer's.
enum AddressBlocks {
    /// Ranges of a certificate at most.
    private static let most = 256

    /// Those of a verified chain's first certificate; nil when it has no such extension, and so no such bound.
    ///
    /// A family that it inherits (§2.2.3.5) is looked for further up.
    static func blocks(of chain: [Certificate]) throws(CryptoError) -> [AddressBlock]? {
        guard let leaf = chain.first else { return nil }
        var inherited = Set<UInt32>()
        guard var result = try read(leaf, only: nil, &inherited) else { return nil }
        for issuer in chain.dropFirst() where !inherited.isEmpty {
            let wanted = inherited
            inherited = []
            result += try read(issuer, only: wanted, &inherited) ?? []
        }
        return result
    }

    private static func read(
        _ certificate: Certificate,
        only wanted: Set<UInt32>?,
        _ inherited: inout Set<UInt32>
    ) throws(CryptoError) -> [AddressBlock]? {
        let value = unsafe X509_get_ext_d2i(certificate.pointer, NID_sbgp_ipAddrBlock, nil, nil)
        guard let value = unsafe value else { return nil }
        let families = OpaquePointer(value)
        defer { unsafe free(families) }
        var result = [AddressBlock]()
        for index in 0..<max(0, unsafe OPENSSL_sk_num(families)) {
            guard let entry = unsafe OPENSSL_sk_value(families, index) else { continue }
            let family = unsafe entry.assumingMemoryBound(to: IPAddressFamily.self)
            let number = unsafe X509v3_addr_get_afi(family)
            guard wanted?.contains(number) ?? true, let choice = unsafe family.pointee.ipAddressChoice else {
                continue
            }
            guard unsafe choice.pointee.type == IPAddressChoice_addressesOrRanges,
                let ranges = unsafe choice.pointee.u.addressesOrRanges as OpaquePointer?
            else {
                inherited.insert(number)
                continue
            }
            unsafe result.append(contentsOf: Self.ranges(ranges, number))
        }
        guard result.count <= most else { throw .unsupported("more than \(most) address blocks") }
        return result
    }

    @unsafe private static func ranges(_ list: OpaquePointer, _ family: UInt32) -> [AddressBlock] {
        var result = [AddressBlock]()
        for index in 0..<max(0, unsafe OPENSSL_sk_num(list)) {
            guard let entry = unsafe OPENSSL_sk_value(list, index) else { continue }
            var first = [UInt8](repeating: 0, count: 16)
            var last = first
            let range = unsafe entry.assumingMemoryBound(to: IPAddressOrRange.self)
            let count = Int(unsafe X509v3_addr_get_range(range, family, &first, &last, 16))
            guard count == 4 || count == 16 else { continue }
            result.append(AddressBlock(first: Array(first.prefix(count)), last: Array(last.prefix(count))))
        }
        return result
    }

    @unsafe private static func free(_ families: OpaquePointer) {
        for index in 0..<max(0, unsafe OPENSSL_sk_num(families)) {
            guard let entry = unsafe OPENSSL_sk_value(families, index) else { continue }
            unsafe IPAddressFamily_free(entry.assumingMemoryBound(to: IPAddressFamily.self))
        }
        unsafe OPENSSL_sk_free(families)
    }
}
