import Primitives
import Testing
import Vici

@Suite struct ViciPacketTests {
    static let all: [ViciPacket] = [
        .request(command: "version", sampleMessage), .response(sampleMessage), .unknownCommand,
        .register(event: "list-sa"), .unregister(event: "log"), .confirm, .unknownEvent,
        .event("list-sa", sampleMessage),
    ]

    @Test func typesAreNumberedInOrderAfterTheLength() throws {
        for (kind, packet) in ViciPacketTests.all.enumerated() {
            let octets = try packet.framed()
            #expect(octets[4] == UInt8(kind))
            var buffer = ViciFrameBuffer()
            try buffer.append(octets)
            #expect(try buffer.next() == packet)
            #expect(buffer.count == 0)
        }
        #expect(try ViciPacket.register(event: "log").framed() == [0, 0, 0, 5, 3, 3, 0x6c, 0x6f, 0x67])
    }

    @Test(
        arguments: [[8], [2, 0], [5, 1], [3], [3, 2, 0x61], [3, 1, 0x61, 0], [0, 1, 0x61, 9]] as [[UInt8]]
    )
    func rejectsMalformedPackets(octets: [UInt8]) throws {
        var buffer = ViciFrameBuffer()
        try buffer.append([0, 0, 0, UInt8(octets.count)] + octets)
        #expect(throws: WireError.self) { try buffer.next() }
    }

    @Test func aFrameCanArriveOctetByOctet() throws {
        var buffer = ViciFrameBuffer()
        let octets = try ViciPacketTests.all[0].framed() + ViciPacketTests.all[3].framed()
        var packets: [ViciPacket] = []
        for octet in octets {
            try buffer.append([octet])
            while let packet = try buffer.next() { packets.append(packet) }
        }
        #expect(packets == [ViciPacketTests.all[0], ViciPacketTests.all[3]])
    }

    @Test func aFrameOverTheLimitIsRefusedByItsLength() throws {
        var buffer = ViciFrameBuffer()
        try buffer.append([0, 8, 0, 1])
        #expect(throws: WireError(.invalidLength(512 * 1024 + 1), at: 0)) { try buffer.next() }
        var empty = ViciFrameBuffer()
        try empty.append([0, 0, 0, 0])
        #expect(throws: WireError(.invalidLength(0), at: 0)) { try empty.next() }
    }

    @Test func aFrameOfTheLimitIsTakenAndALargerOneNotWritten() throws {
        func message(_ last: Int) -> ViciMessage {
            ViciMessage { message in
                for _ in 0..<7 { message.set("k", octets: Array(repeating: 1, count: 65_531)) }
                message.set("k", octets: Array(repeating: 1, count: last))
            }
        }
        // 7 elements of 65,536 octets leave 65,535 of 524,288 beside the octet of the type.
        let octets = try ViciPacket.response(message(65_530)).framed()
        #expect(octets.count == 4 + ViciLimits.packetOctets)
        var buffer = ViciFrameBuffer()
        try buffer.append(octets)
        #expect(try buffer.next() == .response(message(65_530)))
        #expect(throws: WireError.self) { try ViciPacket.response(message(65_531)).framed() }
    }

    /// Changes, cuts and repeats octets of good frames: nothing traps, and no more is held than the bound.
    @Test func twoHundredThousandMutationsNeitherTrapNorGrow() throws {
        let seed: UInt64 = 0x7669_6369
        var entropy = SeededEntropy(seed: seed)
        let frames = try ViciPacketTests.all.map { try $0.framed() }
        var accepted = 0
        var refused = 0
        for round in 0..<200_000 {
            var octets = frames[round % frames.count]
            for _ in 0...(entropy.nextUInt32() % 4) {
                let position = Int(entropy.nextUInt32()) % octets.count
                switch entropy.nextUInt32() % 4 {
                case 0: octets[position] = UInt8(truncatingIfNeeded: entropy.nextUInt32())
                case 1: octets[position] ^= 1 << UInt8(entropy.nextUInt32() % 8)
                case 2: octets.insert(UInt8(entropy.nextUInt32() % 8), at: position)
                default: if octets.count > 1 { octets.remove(at: position) }
                }
            }
            var session = ViciServerSession()
            session.receive(octets)
            var wasMalformed = false
            while let input = session.next() {
                switch input {
                case .malformed: wasMalformed = true
                case .request: _ = try session.unknownCommand()
                case .register, .unregister: _ = try session.eventConfirm()
                }
            }
            if wasMalformed { refused += 1 } else { accepted += 1 }
            #expect(session.bufferedOctets <= ViciFrameBuffer.capacity)
        }
        #expect(accepted > 1_000 && refused > 100_000, "seed \(seed): \(accepted) and \(refused)")
    }
}

@Suite struct ViciSessionTests {
    private func started(_ packets: ViciPacket...) throws -> ViciServerSession {
        var session = ViciServerSession()
        for packet in packets { session.receive(try packet.framed()) }
        return session
    }

    @Test func serverGivesOneRequestAtATime() throws {
        let message = ViciMessage { $0.set("n", 1) }
        var session = try started(
            .request(command: "stats", message),
            .register(event: "log"),
            .request(command: "x", message)
        )
        #expect(!session.isBusy)
        #expect(session.next() == .request("stats", message))
        #expect(session.isBusy && session.next() == nil)
        #expect(try session.response(.success) == ViciPacket.response(.success).framed())
        #expect(session.next() == .register("log"))
        #expect(session.next() == nil)
        #expect(try session.eventUnknown() == ViciPacket.unknownEvent.framed())
        #expect(session.next() == .request("x", message))
        #expect(try session.unknownCommand() == ViciPacket.unknownCommand.framed())
        #expect(!session.isBusy && session.next() == nil)
    }

    @Test func serverSendsEventsOnlyWhileRegistered() throws {
        var session = try started(.register(event: "log"), .unregister(event: "log"))
        #expect(try session.event("log", .success) == nil)
        #expect(session.next() == .register("log"))
        #expect(try session.event("log", .success) == nil)
        _ = try session.eventConfirm()
        #expect(try session.event("log", .success) == ViciPacket.event("log", .success).framed())
        #expect(try session.event("list-sa", .success) == nil)
        #expect(session.next() == .unregister("log"))
        _ = try session.eventConfirm()
        #expect(try session.event("log", .success) == nil)
    }

    @Test(arguments: [
        ViciPacket.response(ViciMessage()), .unknownCommand, .confirm, .unknownEvent, .event("e", .init()),
    ])
    func serverRefusesPacketsOfADaemonAndTakesNothingAfter(packet: ViciPacket) throws {
        var session = try started(packet, .request(command: "stats", ViciMessage()))
        guard case .malformed = session.next() else { return #expect(Bool(false), "accepted \(packet)") }
        #expect(session.next() == nil)
        session.receive(try ViciPacket.register(event: "log").framed())
        #expect(session.next() == nil)
    }

    @Test func serverBoundsWhatAClientSendsWithoutReading() throws {
        var session = try started(.request(command: "stats", ViciMessage()))
        #expect(session.next() != nil)
        for _ in 0..<20 { session.receive([UInt8](repeating: 0, count: ViciFrameBuffer.chunkOctets)) }
        #expect(session.bufferedOctets <= ViciFrameBuffer.capacity)
        guard case .malformed = session.next() else { return #expect(Bool(false), "no bound") }
        #expect(session.next() == nil)
    }

    @Test func anAnswerThatDoesNotFitLeavesTheCommandOwed() throws {
        var session = try started(.request(command: "stats", ViciMessage()))
        _ = session.next()
        let large = ViciMessage { message in
            for _ in 0..<9 { message.set("k", octets: Array(repeating: 0, count: 65_000)) }
        }
        #expect(throws: WireError.self) { try session.response(large) }
        #expect(session.isBusy)
        _ = try session.response(.failure("too large"))
        #expect(!session.isBusy)
    }

    @Test func clientPairsAnswersWithRequestsAndTakesEventsAnyTime() throws {
        var session = ViciClientSession()
        #expect(try session.register("log") == ViciPacket.register(event: "log").framed())
        #expect(session.isWaiting)
        #expect(throws: WireError.self) { try session.request("stats", ViciMessage()) }
        session.receive(try ViciPacket.event("log", .success).framed() + ViciPacket.confirm.framed())
        #expect(session.next() == .event("log", .success))
        #expect(session.next() == .confirm)
        #expect(!session.isWaiting)
        _ = try session.request("stats", ViciMessage())
        session.receive(try ViciPacket.unknownCommand.framed())
        #expect(session.next() == .unknownCommand)
        _ = try session.request("stats", ViciMessage())
        session.receive(try ViciPacket.confirm.framed())
        guard case .malformed = session.next() else { return #expect(Bool(false), "confirm of a command") }
        #expect(session.next() == nil)
    }

    @Test func outputQueueGivesBackTheOctetsInOrder() {
        var entropy = SeededEntropy(seed: 5)
        var queue = ViciOutputQueue()
        var expected: [UInt8] = []
        var written: [UInt8] = []
        for round in 0..<2_000 {
            let frame = entropy.bytes(Int(entropy.nextUInt32() % 50))
            expected += frame
            queue.append(frame)
            guard round % 3 == 0 else { continue }
            let chunk = queue.chunk(limit: 64)
            let count = chunk.isEmpty ? 0 : Int(entropy.nextUInt32()) % (chunk.count + 1)
            written += chunk.prefix(count)
            queue.advance(count)
            #expect(queue.octets == expected.count - written.count)
        }
        while !queue.isEmpty {
            let chunk = queue.chunk(limit: 1000)
            written += chunk
            queue.advance(chunk.count)
        }
        #expect(written == expected)
    }
}
