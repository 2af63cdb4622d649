import CIPsecMB

/// What protects packets.
public enum PacketBackend: Hashable, Sendable {
    /// OpenSSL, packet by packet.
    case openSSL
    /// Intel's IPsec-MB: wider instructions for the AEADs, several packets side by side for CBC and HMAC.
    case multiBuffer

    /// The name in logs and status output.
    public var name: String {
        switch self {
        case .openSSL: "OpenSSL"
        case .multiBuffer: "IPsec-MB"
        }
    }
}

/// The IPsec-MB library of this process, looked for once.
public enum MultiBuffer {
    /// Whether it is there, and if not, why.
    public enum State: Hashable, Sendable, CustomStringConvertible {
        /// It is loaded.
        case loaded(version: String)
        /// It is not used, for this reason.
        case missing(String)

        /// The version, or why there is none.
        public var description: String {
            switch self {
            case .loaded(let version): version
            case .missing(let reason): reason
            }
        }
    }

    /// Loads the library at the first use.
    public static let state = load()

    static var isLoaded: Bool {
        switch state {
        case .loaded: true
        case .missing: false
        }
    }

    private static func load() -> State {
        switch Int(cipsecmb_load()) {
        case CIPSECMB_LOADED:
            guard let version = unsafe cipsecmb_version() else { return .loaded(version: "") }
            return unsafe .loaded(version: String(cString: version))
        case CIPSECMB_NOT_BUILT: return .missing("built without it")
        case CIPSECMB_ABSENT: return .missing("not installed")
        case CIPSECMB_OTHER_VERSION: return .missing("another version than it was built for")
        default: return .missing("failed its own test")
        }
    }
}

/// The expanded keys of one SA and direction.
///
/// Safe within its rule: a plain pointer that whoever called `make` frees once.
@safe
struct MultiBufferKey {
    fileprivate let pointer: OpaquePointer

    /// Expands the keys, without the salt; nil without the library or memory.
    static func make(
        _ transform: CipherTransform,
        _ encryptionKey: SecretKey,
        _ integrityKey: SecretKey?
    ) -> MultiBufferKey? {
        guard MultiBuffer.isLoaded else { return nil }
        let saltLength = transform.saltLength
        return unsafe encryptionKey.withOctets { octets in
            let count = octets.count - saltLength
            let pointer: OpaquePointer?
            switch transform {
            case .aesGCM(_, 16): unsafe pointer = cipsecmb_gcm_new(octets.baseAddress, count)
            case .chacha20Poly1305: unsafe pointer = cipsecmb_chacha_new(octets.baseAddress, count)
            case .aesCBC(_, let integrity), .null(let integrity):
                guard let integrityKey, integrity.hasMultiBuffer,
                    let hash = integrity.function.multiBufferNumber
                else { return nil }
                unsafe pointer = integrityKey.withOctets { mac in
                    unsafe cipsecmb_cbc_new(
                        octets.baseAddress,
                        count,
                        hash,
                        mac.baseAddress,
                        mac.count
                    )
                }
            case .aesGCM, .aesCCM, .aesGMAC, .aesCTR, .camelliaCBC, .tripleDESCBC, .desCBC: return nil
            }
            return unsafe pointer.map { unsafe MultiBufferKey(pointer: $0) }
        }
    }

    func sealAEAD(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafeMutablePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) {
        unsafe cipsecmb_aead_seal(pointer, nonce, aad, aadCount, text, count, icv)
    }

    /// Decrypts and computes the tag, which is still to be compared.
    func openAEAD(
        nonce: UnsafePointer<UInt8>,
        aad: UnsafePointer<UInt8>,
        aadCount: Int,
        text: UnsafeMutablePointer<UInt8>,
        count: Int,
        icv: UnsafeMutablePointer<UInt8>
    ) {
        unsafe cipsecmb_aead_open(pointer, nonce, aad, aadCount, text, count, icv)
    }

    func free() { unsafe cipsecmb_key_free(pointer) }
}

/// Room for messages that are worked on side by side, lent for the time of a batch.
///
/// Safe within its rule: nobody else has it between `acquire` and `release`.
@safe
struct MultiBufferLanes {
    static let count = Int(CIPSECMB_LANES)

    private let pointer: UnsafeMutablePointer<cipsecmb_lanes>

    static func acquire() -> MultiBufferLanes? {
        unsafe cipsecmb_lanes_acquire().map { unsafe MultiBufferLanes(pointer: $0) }
    }

    func release() { unsafe cipsecmb_lanes_release(pointer) }

    func message(_ lane: Int) -> UnsafeMutablePointer<cipsecmb_message>? {
        unsafe cipsecmb_lane(pointer, UInt32(truncatingIfNeeded: lane))
    }

    /// Works on the first `count` messages.
    func run(_ key: MultiBufferKey, count: Int, direction: PacketCipher.Direction) {
        unsafe cipsecmb_run(
            pointer,
            key.pointer,
            UInt32(truncatingIfNeeded: count),
            direction == .seal ? 1 : 0
        )
    }
}

extension MACFunction {
    fileprivate var multiBufferNumber: Int32? {
        switch self {
        case .hmac(.sha1): Int32(CIPSECMB_SHA1)
        case .hmac(.sha256): Int32(CIPSECMB_SHA256)
        case .hmac(.sha384): Int32(CIPSECMB_SHA384)
        case .hmac(.sha512): Int32(CIPSECMB_SHA512)
        case .hmac(.md5), .xcbc, .cmac: nil
        }
    }
}
