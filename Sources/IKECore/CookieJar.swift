public import Cryptography
public import IPPackets
public import Primitives

/// Stateless cookies (RFC 7296 §2.6): version | prf(secret, Ni | IPi | port | SPIi).
public struct CookieJar: Sendable {
    private struct Secret: Sendable {
        let version: UInt8
        let key: [UInt8]
    }

    private static let lifetime = Duration.seconds(60)
    private static let length = 1 + 32

    private var current: Secret
    private var previous: Secret?
    private var rotatesAt: Instant

    /// A jar with a fresh secret.
    public init(entropy: inout any EntropySource, at now: Instant) {
        current = Secret(version: 0, key: entropy.bytes(32))
        rotatesAt = now.advanced(by: Self.lifetime)
    }

    /// Changes the secret every 60 s; the last one stays valid as long.
    public mutating func rotateIfDue(entropy: inout any EntropySource, at now: Instant) {
        guard now >= rotatesAt else { return }
        previous = current
        current = Secret(version: current.version &+ 1, key: entropy.bytes(32))
        rotatesAt = now.advanced(by: Self.lifetime)
    }

    /// The cookie for a request.
    public func cookie(nonce: [UInt8], remote: Endpoint, initiatorSPI: UInt64) throws(CryptoError) -> [UInt8]
    {
        try Self.cookie(current, nonce: nonce, remote: remote, initiatorSPI: initiatorSPI)
    }

    /// True for a cookie of ours for exactly this request.
    public func accepts(_ cookie: [UInt8], nonce: [UInt8], remote: Endpoint, initiatorSPI: UInt64) -> Bool {
        guard cookie.count == Self.length, let version = cookie.first else { return false }
        let secret = [current, previous].compactMap { $0 }.first { $0.version == version }
        guard let secret,
            let expected = try? Self.cookie(secret, nonce: nonce, remote: remote, initiatorSPI: initiatorSPI)
        else { return false }
        return ConstantTime.equal(expected, cookie)
    }

    private static func cookie(
        _ secret: Secret,
        nonce: [UInt8],
        remote: Endpoint,
        initiatorSPI: UInt64
    ) throws(CryptoError) -> [UInt8] {
        var writer = ByteWriter(capacity: 64)
        writer.append(nonce)
        writer.append(remote.address.octets)
        writer.u16(remote.port)
        writer.u64(initiatorSPI)
        return [secret.version] + (try PRF.tag(.hmacSHA256, key: .bytes(secret.key), [.bytes(writer.bytes)]))
    }
}
