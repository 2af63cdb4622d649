import CFetch

/// Fetches by HTTP what is signed by somebody else: revocation lists, OCSP answers, certificates.
///
/// By libcurl, loaded at the first use: redirects are followed three times and to http only, neither proxy nor netrc of the environment is used.
public enum HTTPFetch {
    /// Why nothing came.
    public struct Failure: Error, Hashable, Sendable, CustomStringConvertible {
        /// In libcurl's words.
        public let description: String
    }

    private static let isUsable = cfetch_prepare() == 0

    /// The body at `uri`; with `post`, what the server answers to that.
    ///
    /// Blocks for `timeout` at most: not for a queue that others wait for.
    /// - Throws: `Failure`, also for a body of more than `limit` octets.
    public static func body(
        at uri: String,
        posting post: (octets: [UInt8], type: String)? = nil,
        timeout: Duration,
        mark: UInt32 = 0,
        limit: Int
    ) throws(Failure) -> [UInt8] {
        guard isUsable else { throw Failure(description: "libcurl.so.4 is not installed") }
        guard uri.utf8.count <= 2048, !uri.utf8.contains(0) else { throw Failure(description: "no URI") }
        let milliseconds =
            timeout.components.seconds * 1000
            + timeout.components.attoseconds / 1_000_000_000_000_000
        var body: UnsafeMutablePointer<UInt8>?
        var count = 0
        var error = [CChar](repeating: 0, count: 256)
        let errorSize = error.count
        let status: Int32
        if let post {
            status = unsafe cfetch_run(
                uri,
                post.octets,
                post.octets.count,
                post.type,
                Int(milliseconds),
                mark,
                limit,
                &body,
                &count,
                &error,
                errorSize
            )
        } else {
            status = unsafe cfetch_run(
                uri,
                nil,
                0,
                nil,
                Int(milliseconds),
                mark,
                limit,
                &body,
                &count,
                &error,
                errorSize
            )
        }
        guard status == 0 else {
            let text = error.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            throw Failure(description: String(decoding: text, as: UTF8.self))
        }
        defer { unsafe cfetch_free(body) }
        guard let start = unsafe body, count > 0 else { throw Failure(description: "an empty body") }
        return unsafe Array(UnsafeBufferPointer(start: start, count: count))
    }
}
