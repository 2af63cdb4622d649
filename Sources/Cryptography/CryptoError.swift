/// Why a cryptographic operation failed; holds no secret and no octet of any input.
public enum CryptoError: Error, Hashable, Sendable {
    /// A key has another length than its algorithm needs.
    case invalidKeyLength
    /// A peer's public value was refused; the text says why.
    case invalidPublicValue(String)
    /// An integrity check value did not match.
    case authenticationFailed
    /// The algorithm or its parameter is not offered; the text names it.
    case unsupported(String)
    /// The key arena has no memory left.
    case exhausted
    /// A library function failed that should not; the text is its name.
    case backend(String)
    /// A length does not fit the algorithm, or exceeds a bound of ours.
    case invalidLength
}

/// Turns the `1 == success` convention of OpenSSL into an error that names the function.
func check(_ result: Int32, _ function: String) throws(CryptoError) {
    guard result == 1 else { throw .backend(function) }
}
