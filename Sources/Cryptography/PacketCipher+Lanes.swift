import CIPsecMB
import COpenSSL
import CSodium

/// Cipher and HMAC of several packets side by side.
///
/// The ICV's place behind the payload holds the high half of an extended sequence number while the HMAC is computed:
/// it is hashed there but not sent (RFC 4303 §2.2.1).
extension PacketCipher {
    mutating func sealLanes(
        _ jobs: inout MutableSpan<PacketJob>,
        _ range: Range<Int>,
        _ arena: inout PacketArena,
        _ key: MultiBufferKey,
        _ lanes: MultiBufferLanes
    ) {
        var index = range.lowerBound
        while index < range.upperBound {
            var used = 0
            while index < range.upperBound, used < MultiBufferLanes.count {
                let job = jobs[index]
                jobs[index].status = prepareSeal(job, index, arena, lanes, used)
                if jobs[index].status == .pending { used += 1 }
                index += 1
            }
            lanes.run(key, count: used, direction: .seal)
            for lane in 0..<used {
                guard let message = unsafe lanes.message(lane) else { continue }
                let number = Int(unsafe message.pointee.index)
                if unsafe message.pointee.is_done != 0 {
                    jobs[number].status = .done
                } else {
                    wipe(jobs[number], arena)
                    jobs[number].status = .authenticationFailed
                }
            }
        }
    }

    mutating func openLanes(
        _ jobs: inout MutableSpan<PacketJob>,
        _ range: Range<Int>,
        _ arena: inout PacketArena,
        _ key: MultiBufferKey,
        _ lanes: MultiBufferLanes
    ) {
        var index = range.lowerBound
        while index < range.upperBound {
            var used = 0
            while index < range.upperBound, used < MultiBufferLanes.count {
                let job = jobs[index]
                jobs[index].status = prepareOpen(job, index, arena, lanes, used)
                if jobs[index].status == .pending { used += 1 }
                index += 1
            }
            lanes.run(key, count: used, direction: .open)
            for lane in 0..<used {
                guard let message = unsafe lanes.message(lane) else { continue }
                let number = Int(unsafe message.pointee.index)
                if unsafe message.pointee.is_done != 0
                    && CRYPTO_memcmp(&message.pointee.computed, &message.pointee.received, icvLength) == 0
                {
                    jobs[number].status = .done
                } else {
                    wipe(jobs[number], arena)
                    jobs[number].status = .authenticationFailed
                }
            }
        }
    }

    /// Fills a lane; `.pending` when the packet is to be sealed.
    private mutating func prepareSeal(
        _ job: PacketJob,
        _ index: Int,
        _ arena: borrowing PacketArena,
        _ lanes: MultiBufferLanes,
        _ lane: Int
    ) -> PacketJob.Status {
        guard let packet = unsafe arena.packet(at: job.offset, length: job.length),
            let count = payloadLength(job), let message = unsafe lanes.message(lane)
        else { return .invalidLength }
        guard takeNumber(job.sequence) else {
            wipe(job, arena)
            return .authenticationFailed
        }
        let iv = unsafe packet + Self.headerLength
        if mode == .cbc {
            // As `sealCBC`: the IV on the wire is the first block out.
            unsafe Self.store(0, iv)
            unsafe Self.store(job.sequence, iv + 8)
        }
        unsafe message.pointee.iv = unsafe UnsafePointer(scratch + Scratch.zeroIV)
        unsafe message.pointee.text_offset = UInt32(Self.headerLength)
        unsafe message.pointee.text_count = mode == .cbc ? UInt32(ivLength + count) : 0
        let icv = unsafe iv + ivLength + count
        unsafe message.pointee.tag = icv
        unsafe fill(message, packet, index, covered: Self.headerLength + ivLength + count, job.sequence, icv)
        return .pending
    }

    /// Fills a lane; `.pending` when the packet is to be opened.
    private func prepareOpen(
        _ job: PacketJob,
        _ index: Int,
        _ arena: borrowing PacketArena,
        _ lanes: MultiBufferLanes,
        _ lane: Int
    ) -> PacketJob.Status {
        guard let packet = unsafe arena.packet(at: job.offset, length: job.length),
            let count = payloadLength(job), let message = unsafe lanes.message(lane)
        else { return .invalidLength }
        let iv = unsafe packet + Self.headerLength
        let icv = unsafe iv + ivLength + count
        unsafe message.pointee.iv = mode == .cbc ? UnsafePointer(iv) : UnsafePointer(scratch + Scratch.zeroIV)
        unsafe message.pointee.text_offset = UInt32(Self.headerLength + ivLength)
        unsafe message.pointee.text_count = mode == .cbc ? UInt32(count) : 0
        unsafe withUnsafeMutableBytes(of: &message.pointee.received) { received in
            for octet in 0..<icvLength { unsafe received[octet] = icv[octet] }
        }
        unsafe message.pointee.tag = cipsecmb_computed(message)
        unsafe fill(message, packet, index, covered: Self.headerLength + ivLength + count, job.sequence, icv)
        return .pending
    }

    private func fill(
        _ message: UnsafeMutablePointer<cipsecmb_message>,
        _ packet: UnsafeMutablePointer<UInt8>,
        _ index: Int,
        covered: Int,
        _ sequence: UInt64,
        _ icv: UnsafeMutablePointer<UInt8>
    ) {
        unsafe message.pointee.start = packet
        unsafe message.pointee.index = UInt32(truncatingIfNeeded: index)
        unsafe message.pointee.tag_count = UInt32(icvLength)
        unsafe message.pointee.hash_count = UInt32(truncatingIfNeeded: esn ? covered + 4 : covered)
        guard esn else { return }
        for octet in 0..<4 {
            unsafe icv[octet] = UInt8(truncatingIfNeeded: sequence >> (56 - 8 * UInt64(octet)))
        }
    }

    /// Zeroes a payload that failed.
    private func wipe(_ job: PacketJob, _ arena: borrowing PacketArena) {
        guard let packet = unsafe arena.packet(at: job.offset, length: job.length),
            let count = payloadLength(job)
        else { return }
        unsafe sodium_memzero(packet + Self.headerLength + ivLength, count)
    }
}
