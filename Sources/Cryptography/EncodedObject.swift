import COpenSSL

/// A PEM or DER encoding that is to be parsed, as OpenSSL reads it.
///
/// Safe: it owns its pointer and nothing shares it.
@safe
struct MemoryReader: ~Copyable {
    let pointer: OpaquePointer

    /// Copies nothing: `octets` must live as long as the reader, so use it within `withReader` only.
    fileprivate init(_ octets: UnsafeBufferPointer<UInt8>) throws(CryptoError) {
        guard let base = octets.baseAddress, let count = Int32(exactly: octets.count),
            let pointer = unsafe BIO_new_mem_buf(base, count)
        else { throw .invalidLength }
        unsafe self.pointer = pointer
    }

    deinit { _ = unsafe BIO_free(pointer) }
}

/// A password callback that has none: OpenSSL's own would ask at the terminal.
@unsafe func noPassword(
    _ buffer: UnsafeMutablePointer<CChar>?,
    _ size: Int32,
    _ isWriting: Int32,
    _ context: UnsafeMutableRawPointer?
) -> Int32 { -1 }

/// What objects of files have in common.
enum EncodedObject {
    /// The longest encoding that is looked at.
    static let longest = 65_535
    /// The longest revocation list: those of large authorities have some megabytes.
    static let longestList = 8 << 20

    /// True for DER: every object here is a SEQUENCE.
    static func isDER(_ octets: [UInt8]) -> Bool { octets.first == 0x30 }

    /// Lends a reader of the PEM text to `body`.
    @unsafe static func withReader<Result>(
        _ octets: [UInt8],
        _ body: (OpaquePointer) -> Result?
    ) throws(CryptoError) -> Result? {
        var result: Result?
        var failure: CryptoError?
        unsafe octets.withUnsafeBufferPointer { buffer in
            do throws(CryptoError) {
                let reader = try unsafe MemoryReader(buffer)
                result = unsafe body(reader.pointer)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return result
    }

    /// Lends the octets to one of OpenSSL's `d2i` functions.
    @unsafe static func decode<Result>(
        _ octets: [UInt8],
        _ body: (UnsafeMutablePointer<UnsafePointer<UInt8>?>, Int) -> Result?
    ) -> Result? {
        unsafe octets.withUnsafeBufferPointer { buffer in
            guard let base = buffer.baseAddress else { return nil }
            var cursor: UnsafePointer<UInt8>? = unsafe base
            return unsafe body(&cursor, buffer.count)
        }
    }

    /// DER has one way to write an object: refuses another way, and octets behind it.
    static func checkWhole(_ octets: [UInt8], _ encoded: [UInt8]) throws(CryptoError) {
        guard !isDER(octets) || octets == encoded else { throw .invalidLength }
    }

    /// The octets that one of OpenSSL's `i2d` functions makes.
    @unsafe static func encode(
        _ function: String,
        _ body: (UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>) -> Int32
    ) throws(CryptoError) -> [UInt8] {
        var buffer: UnsafeMutablePointer<UInt8>?
        let length = unsafe body(&buffer)
        guard length > 0, let base = unsafe buffer else { throw .backend(function) }
        defer { unsafe CRYPTO_free(base, "", 0) }
        return unsafe Array(UnsafeBufferPointer(start: base, count: Int(length)))
    }
}

/// Numbers and texts of certificates.
enum CertificateText {
    /// A distinguished name as `C=CH, O=Example, CN=gateway`, what is not printable escaped (RFC 2253).
    static func name(_ name: OpaquePointer?) throws(CryptoError) -> String {
        guard let name = unsafe name, let writer = unsafe BIO_new(BIO_s_mem()) else {
            throw .exhausted
        }
        defer { _ = unsafe BIO_free(writer) }
        let escapes = ASN1_STRFLGS_ESC_2253 | ASN1_STRFLGS_ESC_CTRL | ASN1_STRFLGS_UTF8_CONVERT
        let flags = UInt(escapes) | UInt(ASN1_STRFLGS_DUMP_UNKNOWN) | UInt(XN_FLAG_SEP_CPLUS_SPC)
        guard unsafe X509_NAME_print_ex(writer, name, 0, flags) >= 0 else {
            throw .backend("X509_NAME_print_ex")
        }
        var octets = [UInt8](repeating: 0, count: 4096)
        let count = unsafe BIO_read(writer, &octets, Int32(octets.count))
        return count > 0 ? String(decoding: octets.prefix(Int(count)), as: UTF8.self) : ""
    }

    /// A time as seconds since 1970; nil when there is none.
    static func seconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64? {
        guard let time = unsafe time, let epoch = unsafe ASN1_TIME_set(nil, 0) else { return nil }
        defer { unsafe ASN1_STRING_free(epoch) }
        var days: Int32 = 0
        var seconds: Int32 = 0
        guard unsafe ASN1_TIME_diff(&days, &seconds, epoch, time) == 1 else { return nil }
        return Int64(days) * 86_400 + Int64(seconds)
    }

    /// The octets of a string of ASN.1's.
    static func octets(_ string: UnsafePointer<ASN1_STRING>?) -> [UInt8] {
        guard let string = unsafe string, let base = unsafe ASN1_STRING_get0_data(string) else { return [] }
        return unsafe Array(UnsafeBufferPointer(start: base, count: Int(ASN1_STRING_length(string))))
    }
}
