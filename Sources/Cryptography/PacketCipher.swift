import COpenSSL
import CSodium

/// Seals or opens the ESP packets of one SA in one direction, for one worker, in place.
///
/// A packet is SPI (4), sequence number (4), IV, payload with padding and trailer, ICV (RFC 4303 §2).
/// The keys are set once; a packet costs no allocation and no reference count.
/// Safe: it owns contexts and scratch memory, frees them once, and is used by the worker that owns it.
@safe
public struct PacketCipher: ~Copyable, @unchecked Sendable {
    /// Which way the packets go.
    public enum Direction: Sendable {
        /// Outbound.
        case seal
        /// Inbound.
        case open
    }

    /// Offsets into the scratch memory.
    enum Scratch {
        static let nonce = 0
        static let aad = 16
        static let zeroIV = 32
        static let digest = 64
        static let octets = 128
    }

    static let headerLength = 8

    /// What it protects with.
    public let transform: CipherTransform
    /// What does the work.
    public let backend: PacketBackend
    let mode: CipherTransform.Mode
    let ivLength: Int
    let icvLength: Int
    private let saltLength: Int
    /// What a payload's length may not have: whole blocks for CBC.
    private let partialBlock: Int
    let esn: Bool
    private let direction: Direction
    private let cipher: CipherState?
    private let mac: MACState?
    private let buffered: MultiBufferKey?
    let scratch: UnsafeMutablePointer<UInt8>
    /// The highest number sealed: IVs come from these numbers, so none may come twice.
    private var lastSequence: UInt64 = 0

    /// Keys the contexts; `integrityKey` is nil (or empty) for an AEAD.
    ///
    /// `backend` is a wish: without memory for it, or without the library, OpenSSL does the work.
    public init(
        _ transform: CipherTransform,
        encryptionKey: SecretKey,
        integrityKey: SecretKey?,
        esn: Bool,
        direction: Direction,
        backend: PacketBackend = .openSSL
    ) throws(CryptoError) {
        try transform.checkKeys(encryptionKey, integrityKey)
        let mac = try Self.mac(transform, integrityKey)
        do throws(CryptoError) {
            cipher = try CipherState.make(
                transform,
                key: encryptionKey,
                direction: direction == .seal ? .encrypt : .decrypt
            )
        } catch {
            mac?.free()
            throw error
        }
        self.mac = mac
        switch backend {
        case .openSSL: buffered = nil
        case .multiBuffer: buffered = MultiBufferKey.make(transform, encryptionKey, integrityKey)
        }
        self.backend = buffered == nil ? .openSSL : .multiBuffer
        self.transform = transform
        self.esn = esn
        self.direction = direction
        ivLength = transform.ivLength
        icvLength = transform.icvLength
        saltLength = transform.saltLength
        mode = transform.mode
        partialBlock = mode == .cbc ? transform.blockLength - 1 : 0
        let scratch = UnsafeMutablePointer<UInt8>.allocate(capacity: Scratch.octets)
        unsafe scratch.initialize(repeating: 0, count: Scratch.octets)
        if saltLength > 0 {
            // nonce = salt | IV (RFC 4106 §4, RFC 4309 §4, RFC 7634 §2): the salt is written once.
            unsafe encryptionKey.withOctets { octets in
                let first = octets.count - transform.saltLength
                for index in 0..<transform.saltLength {
                    unsafe scratch[Scratch.nonce + index] = octets[first + index]
                }
            }
            // The last octets of CTR's counter block, which counts from one (RFC 3686 §4).
            if transform.mode == .ctr { unsafe scratch[Scratch.nonce + 15] = 1 }
        }
        unsafe self.scratch = scratch
    }

    deinit {
        cipher?.free()
        mac?.free()
        buffered?.free()
        unsafe sodium_memzero(scratch, Scratch.octets)
        unsafe scratch.deallocate()
    }

    /// Writes IV, ciphertext and ICV of the packets of `range` and sets the status of each.
    ///
    /// Sequence numbers must grow: a number not above the last sealed one is refused, and so is one above
    /// 2^32-1 without ESN (RFC 4303 §3.3.3: the counter must never cycle).
    public mutating func seal(_ jobs: inout [PacketJob], range: Range<Int>, in arena: inout PacketArena) {
        var span = jobs.mutableSpan
        seal(&span, range: range, in: &arena)
    }

    /// Writes IV, ciphertext and ICV of the packets of `range` and sets the status of each.
    public mutating func seal(
        _ jobs: inout MutableSpan<PacketJob>,
        range: Range<Int>,
        in arena: inout PacketArena
    ) {
        precondition(direction == .seal)
        if mode != .aead, let buffered, let lanes = MultiBufferLanes.acquire() {
            defer { lanes.release() }
            return sealLanes(&jobs, range, &arena, buffered, lanes)
        }
        for index in range {
            let job = jobs[index]
            guard let packet = unsafe arena.packet(at: job.offset, length: job.length) else {
                jobs[index].status = .invalidLength
                continue
            }
            jobs[index].status = unsafe seal(job, packet)
        }
    }

    /// Verifies and decrypts the packets of `range`, sets each status, and zeroes a payload that fails.
    public mutating func open(_ jobs: inout [PacketJob], range: Range<Int>, in arena: inout PacketArena) {
        var span = jobs.mutableSpan
        open(&span, range: range, in: &arena)
    }

    /// Verifies and decrypts the packets of `range`, sets each status, and zeroes a payload that fails.
    public mutating func open(
        _ jobs: inout MutableSpan<PacketJob>,
        range: Range<Int>,
        in arena: inout PacketArena
    ) {
        precondition(direction == .open)
        if mode != .aead, let buffered, let lanes = MultiBufferLanes.acquire() {
            defer { lanes.release() }
            return openLanes(&jobs, range, &arena, buffered, lanes)
        }
        for index in range {
            let job = jobs[index]
            guard let packet = unsafe arena.packet(at: job.offset, length: job.length) else {
                jobs[index].status = .invalidLength
                continue
            }
            jobs[index].status = unsafe open(job, packet)
        }
    }

    private mutating func seal(_ job: PacketJob, _ packet: UnsafeMutablePointer<UInt8>) -> PacketJob.Status {
        guard let count = payloadLength(job) else { return .invalidLength }
        let iv = unsafe packet + Self.headerLength
        let payload = unsafe iv + ivLength
        let icv = unsafe payload + count
        guard takeNumber(job.sequence) else {
            unsafe sodium_memzero(payload, count)
            return .authenticationFailed
        }
        let sealed: Bool
        switch mode {
        case .aead, .ccm:
            unsafe setNonce(job.sequence, iv)
            sealed = unsafe sealAEAD(packet, job.sequence, payload, count, icv)
        case .gmac:
            unsafe setNonce(job.sequence, iv)
            sealed = unsafe sealGMAC(packet, job.sequence, iv, count, icv)
        case .ctr:
            unsafe setNonce(job.sequence, iv)
            sealed =
                unsafe cipher?.run(iv: scratch + Scratch.nonce, text: payload, count: count) ?? false
                && computeICV(packet, count, job.sequence)
        case .cbc:
            sealed =
                unsafe sealCBC(iv, job.sequence, count) && computeICV(packet, count, job.sequence)
        case .null:
            sealed = unsafe computeICV(packet, count, job.sequence)
        }
        guard sealed else {
            unsafe sodium_memzero(payload, count)
            return .authenticationFailed
        }
        if mac != nil { unsafe icv.update(from: scratch + Scratch.digest, count: icvLength) }
        return .done
    }

    /// Writes the number as IV on the wire and behind the salt of the nonce.
    private func setNonce(_ sequence: UInt64, _ iv: UnsafeMutablePointer<UInt8>) {
        unsafe Self.store(sequence, iv)
        unsafe Self.store(sequence, scratch + Scratch.nonce + saltLength)
    }

    /// False for a number that must not be sealed.
    mutating func takeNumber(_ sequence: UInt64) -> Bool {
        guard sequence > lastSequence, esn || sequence <= UInt64(UInt32.max) else { return false }
        lastSequence = sequence
        return true
    }

    private func open(_ job: PacketJob, _ packet: UnsafeMutablePointer<UInt8>) -> PacketJob.Status {
        guard let count = payloadLength(job) else { return .invalidLength }
        let iv = unsafe packet + Self.headerLength
        let payload = unsafe iv + ivLength
        let icv = unsafe payload + count
        let opened: Bool
        switch mode {
        case .aead, .ccm:
            unsafe (scratch + Scratch.nonce + saltLength).update(from: iv, count: ivLength)
            opened = unsafe openAEAD(packet, job.sequence, payload, count, icv)
        case .gmac:
            unsafe (scratch + Scratch.nonce + saltLength).update(from: iv, count: ivLength)
            opened = unsafe openGMAC(packet, job.sequence, iv, count, icv)
        case .ctr:
            unsafe (scratch + Scratch.nonce + saltLength).update(from: iv, count: ivLength)
            opened =
                unsafe verifyICV(packet, count, job.sequence, icv)
                && cipher?.run(iv: scratch + Scratch.nonce, text: payload, count: count) ?? false
        case .cbc:
            opened =
                unsafe verifyICV(packet, count, job.sequence, icv)
                && cipher?.run(iv: iv, text: payload, count: count) ?? false
        case .null:
            opened = unsafe verifyICV(packet, count, job.sequence, icv)
        }
        guard opened else {
            unsafe sodium_memzero(payload, count)
            return .authenticationFailed
        }
        return .done
    }

    /// Octets between IV and ICV, or nil when they cannot be: a trailer has two octets, CBC whole blocks.
    func payloadLength(_ job: PacketJob) -> Int? {
        let count = Int(job.length) - Self.headerLength - ivLength - icvLength
        guard count >= 2, count & partialBlock == 0 else { return nil }
        return count
    }

    private func sealAEAD(
        _ packet: UnsafeMutablePointer<UInt8>,
        _ sequence: UInt64,
        _ payload: UnsafeMutablePointer<UInt8>,
        _ count: Int,
        _ icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        let aad = unsafe aad(packet, sequence)
        if let buffered {
            unsafe buffered.sealAEAD(
                nonce: scratch + Scratch.nonce,
                aad: aad,
                aadCount: esn ? 12 : 8,
                text: payload,
                count: count,
                icv: icv
            )
            return true
        }
        return unsafe cipher?.sealAEAD(
            nonce: scratch + Scratch.nonce,
            aad: aad,
            aadCount: esn ? 12 : 8,
            text: payload,
            count: count,
            icv: icv
        ) ?? false
    }

    private func openAEAD(
        _ packet: UnsafeMutablePointer<UInt8>,
        _ sequence: UInt64,
        _ payload: UnsafeMutablePointer<UInt8>,
        _ count: Int,
        _ icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        let aad = unsafe aad(packet, sequence)
        if let buffered {
            unsafe buffered.openAEAD(
                nonce: scratch + Scratch.nonce,
                aad: aad,
                aadCount: esn ? 12 : 8,
                text: payload,
                count: count,
                icv: scratch + Scratch.digest
            )
            return unsafe CRYPTO_memcmp(scratch + Scratch.digest, icv, icvLength) == 0
        }
        return unsafe cipher?.openAEAD(
            nonce: scratch + Scratch.nonce,
            aad: aad,
            aadCount: esn ? 12 : 8,
            text: payload,
            count: count,
            icv: icv
        ) ?? false
    }

    /// GMAC covers header, IV and payload (RFC 4543 §3.3).
    private func sealGMAC(
        _ packet: UnsafeMutablePointer<UInt8>,
        _ sequence: UInt64,
        _ iv: UnsafeMutablePointer<UInt8>,
        _ count: Int,
        _ icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe cipher?.sealGMAC(
            nonce: scratch + Scratch.nonce,
            aad: aad(packet, sequence),
            aadCount: esn ? 12 : 8,
            text: iv,
            count: ivLength + count,
            icv: icv
        ) ?? false
    }

    private func openGMAC(
        _ packet: UnsafeMutablePointer<UInt8>,
        _ sequence: UInt64,
        _ iv: UnsafeMutablePointer<UInt8>,
        _ count: Int,
        _ icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe cipher?.openGMAC(
            nonce: scratch + Scratch.nonce,
            aad: aad(packet, sequence),
            aadCount: esn ? 12 : 8,
            text: iv,
            count: ivLength + count,
            icv: icv
        ) ?? false
    }

    /// The header itself, or with ESN SPI | high half | low half (RFC 4106 §5).
    private func aad(_ packet: UnsafeMutablePointer<UInt8>, _ sequence: UInt64) -> UnsafeMutablePointer<UInt8>
    {
        guard esn else { return unsafe packet }
        let aad = unsafe scratch + Scratch.aad
        unsafe aad.update(from: packet, count: 4)
        unsafe Self.store((sequence >> 32) << 32, aad + 4)
        unsafe (aad + 8).update(from: packet + 4, count: 4)
        return unsafe aad
    }

    /// Encrypts counter block and payload with a zero IV: the first block out is the IV on the wire.
    ///
    /// NIST SP 800-38A appendix C: the forward cipher of a nonce under the same key is an unpredictable IV.
    private func sealCBC(_ iv: UnsafeMutablePointer<UInt8>, _ sequence: UInt64, _ count: Int) -> Bool {
        if ivLength == 16 { unsafe Self.store(0, iv) }
        unsafe Self.store(sequence, iv + (ivLength - 8))
        return unsafe cipher?.run(iv: scratch + Scratch.zeroIV, text: iv, count: ivLength + count) ?? false
    }

    /// Leaves in the scratch the HMAC over header, IV, ciphertext and with ESN the high half (RFC 4303 §2.2.1).
    private func computeICV(_ packet: UnsafeMutablePointer<UInt8>, _ count: Int, _ sequence: UInt64) -> Bool {
        guard let mac, mac.begin(), unsafe mac.update(packet, Self.headerLength + ivLength + count) else {
            return false
        }
        if esn {
            let high = unsafe scratch + Scratch.aad
            unsafe Self.store((sequence >> 32) << 32, high)
            guard unsafe mac.update(high, 4) else { return false }
        }
        return unsafe mac.finish(scratch + Scratch.digest)
    }

    private func verifyICV(
        _ packet: UnsafeMutablePointer<UInt8>,
        _ count: Int,
        _ sequence: UInt64,
        _ icv: UnsafeMutablePointer<UInt8>
    ) -> Bool {
        unsafe computeICV(packet, count, sequence)
            && CRYPTO_memcmp(scratch + Scratch.digest, icv, icvLength) == 0
    }

    private static func mac(
        _ transform: CipherTransform,
        _ key: SecretKey?
    ) throws(CryptoError) -> MACState? {
        guard let integrity = transform.integrity, let key else { return nil }
        return try unsafe key.withOctets { (octets) throws(CryptoError) -> MACState in
            try unsafe MACState.make(integrity.function, key: octets)
        }
    }

    static func store(_ value: UInt64, _ target: UnsafeMutablePointer<UInt8>) {
        unsafe UnsafeMutableRawPointer(target).storeBytes(of: value.bigEndian, as: UInt64.self)
    }
}
