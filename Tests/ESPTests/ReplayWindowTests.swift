import Testing

@testable import ESP

struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// The rule in the plainest words: a set of what was seen, and the highest of it.
private struct SlowWindow {
    let size: UInt64
    var seen = Set<UInt64>()
    var top: UInt64 = 0
    /// All up to this was seen before the test began.
    var base: UInt64 = 0

    mutating func accept(_ sequence: UInt64) -> Bool {
        let isOld = top >= size && sequence <= top - size
        guard sequence > base, !isOld, seen.insert(sequence).inserted else { return false }
        top = max(top, sequence)
        return true
    }
}

struct ReplayWindowTests {
    @Test(arguments: [32, 63, 64, 65, 1000, 1024, 8192])
    func agreesWithASetOfWhatWasSeen(size: Int) {
        var random = SplitMix64(state: UInt64(size))
        var window = ReplayWindow(size: size, usesESN: false)
        var slow = SlowWindow(size: UInt64(size))
        var differences = 0
        for _ in 0..<200_000 {
            let span = UInt64(size * 2)
            let low = slow.top > span ? slow.top - span : 0
            let isJump = UInt64.random(in: 0..<1000, using: &random) == 0
            let reach = isJump ? span * 20 : UInt64.random(in: 0..<4, using: &random)
            let sequence = UInt64.random(in: low...slow.top + reach, using: &random)
            let isFresh = window.isFresh(sequence)
            let expected = slow.accept(sequence)
            if window.accept(sequence) != expected || isFresh != expected { differences += 1 }
            if window.top != slow.top { differences += 1 }
        }
        #expect(differences == 0)
    }

    @Test(arguments: [32, 64, 1024, 8192])
    func infersTheHighHalf(size: Int) {
        var random = SplitMix64(state: UInt64(size) + 7)
        let width = UInt64(size)
        // Around the first and a later change of the high half, and at the very beginning.
        for start in [0, 1 << 32 - 600, 5 << 32 - 3, 5 << 32 + width / 2, 9 << 32 + 1 << 31] as [UInt64] {
            var window = ReplayWindow(size: size, usesESN: true, top: start)
            var slow = SlowWindow(size: width, top: start, base: start)
            var differences = 0
            for _ in 0..<50_000 {
                // RFC 4303 appendix A: right as long as less than 2^32 packets are lost in a row.
                let bottom = slow.top >= width ? slow.top - width + 1 : 1
                let isJump = UInt64.random(in: 0..<5000, using: &random) == 0
                let reach = isJump ? 1 << 31 : UInt64.random(in: 0..<4, using: &random)
                let sequence = UInt64.random(in: bottom...max(bottom, slow.top + reach), using: &random)
                if window.sequence(UInt32(truncatingIfNeeded: sequence)) != sequence { differences += 1 }
                if window.accept(sequence) != slow.accept(sequence) { differences += 1 }
            }
            #expect(differences == 0)
        }
    }

    @Test func zeroAndWhatLiesBeforeTheFirstAreNothing() {
        var window = ReplayWindow(size: 64, usesESN: true)
        #expect(window.sequence(.max) == nil)
        #expect(window.sequence(0).map { window.isFresh($0) } != true)
        var short = ReplayWindow(size: 64, usesESN: false)
        let zero = short.accept(0)
        let first = short.accept(1)
        let again = short.accept(1)
        #expect(!zero && first && !again)
        let one = window.accept(1)
        #expect(one)
    }

    @Test func lastNumberOfAllDoesNotOverflow() {
        var window = ReplayWindow(size: 1024, usesESN: true, top: .max - 2)
        #expect(window.sequence(.max) == .max)
        #expect(window.sequence(5) == nil)
        let last = window.accept(.max)
        let again = window.accept(.max)
        #expect(last && !again)
        var short = ReplayWindow(size: 32, usesESN: false)
        let end = short.accept(UInt64(UInt32.max))
        let before = short.accept(UInt64(UInt32.max) - 31)
        let old = short.accept(UInt64(UInt32.max) - 32)
        #expect(end && before && !old)
    }

    @Test(arguments: [(-5, 32), (0, 32), (100, 100), (1 << 20, 8192)])
    func sizeIsHeldToBounds(asked: Int, got: Int) {
        #expect(ReplayWindow(size: asked, usesESN: false).size == got)
    }
}
