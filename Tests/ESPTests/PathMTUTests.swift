import Cryptography
import IPPackets
import IPsecTypes
import Testing

@testable import ESP

/// A row of the table of exact MTUs.
struct MTURow: Sendable {
    let transform: CipherTransform
    let plain1500: Int
    let udp1500: Int
    let plain1400: Int
    let udp1400: Int
    let ipv6: Int

    init(_ transform: CipherTransform, _ values: (Int, Int, Int, Int, Int)) {
        self.transform = transform
        (plain1500, udp1500, plain1400, udp1400, ipv6) = values
    }

    static let all = [
        MTURow(.aesGCM16(keyBits: 256), (1446, 1438, 1346, 1338, 1426)),
        MTURow(.aesCBC(keyBits: 128, .hmacSHA1_96), (1438, 1422, 1342, 1326, 1422)),
        MTURow(.aesCBC(keyBits: 256, .hmacSHA256_128), (1438, 1422, 1326, 1326, 1406)),
        MTURow(.aesCBC(keyBits: 256, .hmacSHA384_192), (1422, 1422, 1326, 1310, 1406)),
    ]
}

struct PathMTUTests {
    private static let transforms = Fixture.transforms

    private func host(
        _ transform: CipherTransform = .aesGCM16(keyBits: 128),
        _ encapsulation: Encapsulation = .udp,
        isIPv6: Bool = false,
        path: Int? = nil,
        id: UInt32 = 1
    ) throws -> EngineHost {
        let description = try Fixture.description(
            isA: true,
            id: id,
            transform,
            encapsulation: encapsulation,
            outer: isIPv6 ? "2001:db8::1" : "192.0.2.1"
        )
        let host = try EngineHost(description)
        if let path { host.engine.setPathMTU(saID: id, octets: path) }
        return host
    }

    @Test(arguments: MTURow.all)
    func innerMTUIsExact(row: MTURow) throws {
        func mtu(_ encapsulation: Encapsulation, _ path: Int, isIPv6: Bool = false) throws -> Int {
            try host(row.transform, encapsulation, isIPv6: isIPv6, path: path).engine.outbound[0].innerMTU
        }
        #expect(try mtu(.none, 1500) == row.plain1500)
        #expect(try mtu(.udp, 1500) == row.udp1500)
        #expect(try mtu(.none, 1400) == row.plain1400)
        #expect(try mtu(.udp, 1400) == row.udp1400)
        #expect(try mtu(.none, 1500, isIPv6: true) == row.ipv6)
    }

    /// The largest packet that passes fills the path, and one octet more would not pass.
    @Test(arguments: transforms, [Encapsulation.udp, .none])
    func largestPacketFitsAndOneMoreDoesNot(transform: CipherTransform, encapsulation: Encapsulation) throws {
        for isIPv6 in [false, true] {
            for path in [1280, 1281, 1299, 1400, 1492, 1500, 9000] {
                let a = try host(transform, encapsulation, isIPv6: isIPv6, path: path)
                let outer = (isIPv6 ? 40 : 20) + (encapsulation == .udp ? 8 : 0)
                let mtu = a.engine.outbound[0].innerMTU
                let fitting = try Fixture.packet(payload: mtu - 24, dontFragment: true)
                let sealed = a.seal([fitting])
                #expect(sealed.count == 1 && (sealed.first?.count ?? 0) + outer <= path)
                #expect(a.lastSealed.allSatisfy { !$0.mayBeCut })
                #expect(try a.seal([Fixture.packet(payload: mtu - 23, dontFragment: true)]).isEmpty)
                #expect(a.lastVerdicts == [.tooBig(mtu: mtu)])
                // What was refused would have been too large.
                a.engine.setPathMTU(saID: 1, octets: 65_535)
                let larger = try a.seal([Fixture.packet(payload: mtu - 23, dontFragment: true)])
                #expect((larger.first?.count ?? 0) + outer > path)
            }
        }
    }

    @Test func largePacketsAreCutUnlessTheyMustNotBe() throws {
        let a = try EngineHost(Fixture.description(isA: true))
        let b = try EngineHost(Fixture.description(isA: false))
        let large = try Fixture.packet(payload: 1439 - 24, dontFragment: true)
        #expect(a.seal([large]).isEmpty)
        #expect(a.lastVerdicts == [.tooBig(mtu: 1438)])
        let cuttable = try Fixture.packet(payload: 3000 - 24)
        let sealed = a.seal([cuttable])
        #expect(a.lastVerdicts == [.toBeCut(mtu: 1438), .queued, .queued, .queued])
        #expect(sealed.allSatisfy { $0.count + 28 <= 1500 })
        let pieces = b.open(sealed).compactMap { $0 }
        #expect(pieces.count == 3 && pieces.allSatisfy { $0.count <= 1438 })
        #expect(pieces.flatMap { $0.dropFirst(20) } == Array(cuttable.dropFirst(20)))
        let huge = try Fixture.packet(payload: 65_535 - 24)
        let many = b.open(a.seal([huge])).compactMap { $0 }
        #expect(many.flatMap { $0.dropFirst(20) } == Array(huge.dropFirst(20)))
        #expect(a.drops(.tooBig) == 1 && b.droppedOnly())
    }

    @Test func piecesGoByTheSAWhoseSelectorsTakeThem() throws {
        let near = [try Fixture.selector("10.1.0.0/16")]
        let port = [try Fixture.selector("10.2.0.0/16", ipProtocol: 17, ports: 0x2222...0x2222)]
        let (first, last) = (
            try Fixture.selector("10.2.0.0/16").first, try Fixture.selector("10.2.0.0/16").last
        )
        let opaque = [try #require(TrafficSelector(first, last, ipProtocol: 17, isOpaque: true))]
        let large = try Fixture.packet(payload: 2000)
        let a = try EngineHost(Fixture.description(isA: true, id: 1, local: near, remote: port))
        // Nobody takes pieces without ports: the outer packet is cut instead.
        #expect(a.seal([large]).map { $0[3] } == [1])
        #expect(a.lastSealed.map(\.mayBeCut) == [true])
        try a.engine.install(Fixture.description(isA: true, id: 2, local: near, remote: opaque))
        #expect(a.seal([large]).map { $0[3] } == [1, 2])
        #expect(a.lastSealed.map(\.mayBeCut) == [false, false])
    }

    @Test func ipv6NeverHearsOfLessThanItsMinimum() throws {
        let a = try host(path: 1300)
        let mtu = a.engine.outbound[0].innerMTU
        #expect(mtu < 1280)
        func packet(_ total: Int) throws -> [UInt8] {
            try Fixture.packet("fd01::1", "fd02::1", payload: total - 44)
        }
        #expect(try a.seal([packet(mtu)]).count == 1)
        #expect(a.lastSealed.map(\.mayBeCut) == [false])
        #expect(try a.seal([packet(1280)]).count == 1)
        #expect(a.lastSealed.map(\.mayBeCut) == [true])
        #expect(try a.seal([packet(1281)]).isEmpty)
        #expect(a.lastVerdicts == [.tooBig(mtu: 1280)])
        let wide = try host()
        #expect(try wide.seal([packet(1439)]).isEmpty)
        #expect(wide.lastVerdicts == [.tooBig(mtu: 1438)])
    }

    private func quoted(_ spi: UInt32, _ sequence: UInt32, mtu: Int, _ remote: String = "192.0.2.1") throws
        -> QuotedPacket
    {
        QuotedPacket(spi: spi, sequence: sequence, remote: try #require(IPAddress(remote)), mtu: mtu)
    }

    @Test func onlyAnErrorAboutAPacketOfOursLowersThePath() throws {
        let a = try host()
        a.engine.outbound[0].sequence = 5_000_000
        for forged in [
            try quoted(0xb002, 5_000_000, mtu: 1300), try quoted(0xa001, 5_000_000, mtu: 1300),
            try quoted(0xb001, 5_000_000, mtu: 1300, "192.0.2.2"), try quoted(0xb001, 5_000_001, mtu: 1300),
            try quoted(0xb001, 1_000_000, mtu: 1300), try quoted(0xb001, 5_000_000, mtu: 1500),
            try quoted(0, 0, mtu: 1300),
        ] {
            a.engine.pathTooBig(forged)
            #expect(a.engine.pathMTU(ofSA: 1) == 1500 && !a.hasEvents)
        }
        a.engine.pathTooBig(try quoted(0xb001, 4_999_000, mtu: 1300))
        #expect(a.engine.takeEvents() == [.pathTooBig(saID: 1, mtu: 1300)])
        #expect(a.engine.outbound[0].innerMTU == 1238)
        // Never up, and not without bound down.
        a.engine.pathTooBig(try quoted(0xb001, 4_999_000, mtu: 1400))
        #expect(a.engine.pathMTU(ofSA: 1) == 1300 && !a.hasEvents)
        a.engine.pathTooBig(try quoted(0xb001, 4_999_000, mtu: 0))
        #expect(a.engine.pathMTU(ofSA: 1) == 1006)
        a.engine.pathTooBig(try quoted(0xb001, 4_999_000, mtu: 68))
        #expect(a.engine.pathMTU(ofSA: 1) == 576)
        a.engine.setPathMTU(saID: 1, octets: 1450)
        #expect(a.engine.pathMTU(ofSA: 1) == 1450)
        a.engine.remove(saID: 1)
        a.engine.pathTooBig(try quoted(0xb001, 4_999_000, mtu: 1300))
        #expect(a.engine.pathMTU(ofSA: 1) == nil)
    }

    @Test func whatIsLearntHoldsForTheWayAndForTheNextSA() throws {
        let a = try host()
        try a.engine.install(Fixture.description(isA: true, id: 2))
        try a.engine.install(Fixture.description(isA: true, id: 3, encapsulation: .none))
        try a.engine.install(Fixture.description(isA: true, id: 4, outer: "192.0.2.9"))
        a.engine.outbound[0].sequence = 10
        a.engine.pathTooBig(try quoted(0xb001, 10, mtu: 1300))
        #expect((1...4).map { a.engine.pathMTU(ofSA: $0) } == [1300, 1300, 1500, 1500])
        try a.engine.install(Fixture.description(isA: true, id: 5))
        #expect(a.engine.pathMTU(ofSA: 5) == 1300)
        a.engine.deviceTooSmall(remote: try #require(IPAddress("192.0.2.1")), mtu: 1200)
        #expect((1...5).map { a.engine.pathMTU(ofSA: $0) } == [1200, 1200, 1200, 1500, 1200])
        // Another way is another path.
        let end = Endpoint(try #require(IPAddress("192.0.2.7")), 4500)
        a.engine.updatePath(saID: 1, OuterPath(local: end, remote: end, encapsulation: .udp))
        #expect(a.engine.pathMTU(ofSA: 1) == 1500)
        a.engine.deviceTooSmall(remote: try #require(IPAddress("192.0.2.1")), mtu: 600)
        #expect((1...5).map { a.engine.pathMTU(ofSA: $0) } == [1500, 600, 600, 1500, 600])
        let b = try host(isIPv6: true)
        b.engine.deviceTooSmall(remote: try #require(IPAddress("2001:db8::1")), mtu: 600)
        #expect(b.engine.pathMTU(ofSA: 1) == 1280)
    }

    @Test func segmentSizeFollowsThePath() throws {
        func syn(_ source: String, _ destination: String, isIPv6: Bool) throws -> [UInt8] {
            var packet = try Fixture.packet(source, destination, ipProtocol: 6, payload: 20)
            let start = isIPv6 ? 40 : 20
            packet[start + 12] = 0x60
            packet[start + 13] = 2
            packet.replaceSubrange(start + 20..<start + 24, with: [2, 4, 5, 0xb4])
            return packet
        }
        func size(_ packet: [UInt8]?, _ start: Int) -> Int? {
            packet.map { Int($0[start + 22]) << 8 | Int($0[start + 23]) }
        }
        let transform = CipherTransform.null(.hmacSHA256_128)
        let a = try EngineHost(Fixture.description(isA: true, transform))
        let b = try EngineHost(Fixture.description(isA: false, transform))
        a.engine.setPathMTU(saID: 1, octets: 1400)
        b.engine.setPathMTU(saID: 1, octets: 1380)
        let (mtuA, mtuB) = (a.engine.outbound[0].innerMTU, b.engine.outbound[0].innerMTU)
        for isIPv6 in [false, true] {
            let ends = isIPv6 ? ("fd01::1", "fd02::1") : ("10.1.0.5", "10.2.0.9")
            let sealed = a.seal([try syn(ends.0, ends.1, isIPv6: isIPv6)])
            let (start, headers) = isIPv6 ? (40, 60) : (20, 40)
            #expect(size(sealed.first.map { Array($0.dropFirst(8)) }, start) == mtuA - headers)
            #expect(size(b.open(sealed).first ?? nil, start) == mtuB - headers)
        }
    }
}
