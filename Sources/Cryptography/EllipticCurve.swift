import COpenSSL

/// A curve of RFC 5903 or RFC 6954: prime field, cofactor 1, so a point on the curve has the full order.
///
/// Safe to share: OpenSSL does not change a group after it was made; it is never freed.
@safe
struct EllipticCurve: @unchecked Sendable {
    private let group: OpaquePointer
    private let order: OpaquePointer
    /// Octets of a coordinate.
    private let length: Int

    private static let ecp256 = EllipticCurve(NID_X9_62_prime256v1, 32)
    private static let ecp384 = EllipticCurve(NID_secp384r1, 48)
    private static let ecp521 = EllipticCurve(NID_secp521r1, 66)
    private static let brainpool224 = EllipticCurve(NID_brainpoolP224r1, 28)
    private static let brainpool256 = EllipticCurve(NID_brainpoolP256r1, 32)
    private static let brainpool384 = EllipticCurve(NID_brainpoolP384r1, 48)
    private static let brainpool512 = EllipticCurve(NID_brainpoolP512r1, 64)

    static func of(_ group: KeyExchangeGroup) throws(CryptoError) -> EllipticCurve {
        let found: EllipticCurve?
        switch group {
        case .ecp256: found = ecp256
        case .ecp384: found = ecp384
        case .ecp521: found = ecp521
        case .brainpool224: found = brainpool224
        case .brainpool256: found = brainpool256
        case .brainpool384: found = brainpool384
        case .brainpool512: found = brainpool512
        default: throw .unsupported(group.name)
        }
        guard let found else { throw .backend("EC_GROUP_new_by_curve_name") }
        return found
    }

    private init?(_ name: Int32, _ length: Int) {
        guard let group = unsafe EC_GROUP_new_by_curve_name(name),
            let order = unsafe EC_GROUP_get0_order(group)
        else { return nil }
        unsafe self.group = group
        unsafe self.order = order
        self.length = length
    }

    /// A number in 1..<order.
    func randomScalar() throws(CryptoError) -> SecretKey {
        let scalar = try BigNumber()
        repeat {
            try check(unsafe BN_priv_rand_range(scalar.pointer, order), "BN_priv_rand_range")
        } while scalar.isZero
        return try scalar.secret(length)
    }

    /// x | y of scalar·G.
    func publicValue(_ privateValue: SecretKey) throws(CryptoError) -> [UInt8] {
        let scalar = try self.scalar(privateValue)
        let scratch = try BigNumberScratch()
        let point = try unsafe Point(group)
        try check(
            unsafe EC_POINT_mul(group, point.pointer, scalar.pointer, nil, nil, scratch.pointer),
            "EC_POINT_mul"
        )
        let x = try BigNumber()
        let y = try BigNumber()
        try check(
            unsafe EC_POINT_get_affine_coordinates(
                group,
                point.pointer,
                x.pointer,
                y.pointer,
                scratch.pointer
            ),
            "EC_POINT_get_affine_coordinates"
        )
        return try x.octets(length) + y.octets(length)
    }

    /// The x coordinate alone (RFC 5903 §7).
    func sharedSecret(_ privateValue: SecretKey, _ peer: [UInt8]) throws(CryptoError) -> SecretKey {
        let scalar = try self.scalar(privateValue)
        let scratch = try BigNumberScratch()
        let point = try unsafe Point(group)
        let encoded = [4] + peer
        // RFC 6989 §2.3: the coordinates are below the prime and satisfy the curve's equation. Checked here.
        guard
            unsafe EC_POINT_oct2point(group, point.pointer, encoded, encoded.count, scratch.pointer) == 1,
            unsafe EC_POINT_is_on_curve(group, point.pointer, scratch.pointer) == 1,
            unsafe EC_POINT_is_at_infinity(group, point.pointer) == 0
        else {
            ERR_clear_error()
            throw .invalidPublicValue("not on the curve")
        }
        let result = try unsafe Point(group)
        try check(
            unsafe EC_POINT_mul(group, result.pointer, nil, point.pointer, scalar.pointer, scratch.pointer),
            "EC_POINT_mul"
        )
        let x = try BigNumber()
        try check(
            unsafe EC_POINT_get_affine_coordinates(group, result.pointer, x.pointer, nil, scratch.pointer),
            "EC_POINT_get_affine_coordinates"
        )
        return try x.secret(length)
    }

    private func scalar(_ privateValue: SecretKey) throws(CryptoError) -> BigNumber {
        guard privateValue.count <= 2 * length else { throw .invalidKeyLength }
        let scalar = try BigNumber(secret: privateValue)
        guard !scalar.isZero, unsafe BN_cmp(scalar.pointer, order) < 0 else { throw .invalidKeyLength }
        return scalar
    }
}

/// A point of OpenSSL, wiped when it goes.
///
/// Safe: it owns its pointer and nothing shares it.
@safe
private struct Point: ~Copyable {
    let pointer: OpaquePointer

    init(_ group: OpaquePointer) throws(CryptoError) {
        guard let pointer = unsafe EC_POINT_new(group) else { throw .exhausted }
        unsafe self.pointer = pointer
    }

    deinit { unsafe EC_POINT_clear_free(pointer) }
}
