/// Finds the slot of an inbound SA by its SPI: open addressing, and the last answer remembered.
///
/// This and the slots it names are the `SecurityAssociationDatabase`'s inner part.
struct SPITable: Sendable {
    private struct Entry {
        /// 0, which is no SPI, where the entry is free.
        var spi: UInt32 = 0
        var slot: Int32 = 0
    }

    private(set) var count = 0
    private var entries = [Entry](repeating: Entry(), count: 16)
    private var lastSPI: UInt32 = 0
    private var lastSlot: Int32 = 0

    private func home(_ spi: UInt32) -> Int {
        Int(truncatingIfNeeded: (UInt64(spi) &* 0x9e37_79b9_7f4a_7c15) >> 32) & (entries.count - 1)
    }

    mutating func slot(of spi: UInt32) -> Int? {
        guard spi != 0 else { return nil }
        if spi == lastSPI { return Int(lastSlot) }
        var index = home(spi)
        while entries[index].spi != 0 {
            if entries[index].spi == spi {
                lastSPI = spi
                lastSlot = entries[index].slot
                return Int(lastSlot)
            }
            index = (index + 1) & (entries.count - 1)
        }
        return nil
    }

    mutating func insert(_ spi: UInt32, slot: Int) {
        if (count + 1) * 2 > entries.count { grow() }
        place(Entry(spi: spi, slot: Int32(slot)))
        count += 1
    }

    private mutating func grow() {
        let old = entries
        entries = [Entry](repeating: Entry(), count: old.count * 2)
        for entry in old where entry.spi != 0 { place(entry) }
    }

    private mutating func place(_ entry: Entry) {
        var index = home(entry.spi)
        while entries[index].spi != 0 { index = (index + 1) & (entries.count - 1) }
        entries[index] = entry
    }

    mutating func remove(_ spi: UInt32) {
        lastSPI = 0
        var index = home(spi)
        while entries[index].spi != spi {
            guard entries[index].spi != 0 else { return }
            index = (index + 1) & (entries.count - 1)
        }
        count -= 1
        // What follows in the same run may have been pushed past the hole: place it again.
        entries[index].spi = 0
        index = (index + 1) & (entries.count - 1)
        while entries[index].spi != 0 {
            let moved = entries[index]
            entries[index].spi = 0
            place(moved)
            index = (index + 1) & (entries.count - 1)
        }
    }
}
