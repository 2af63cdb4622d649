import IKECore
import IKEMessages
import IPsecTypes
import Primitives
import Testing

@testable import IKEv2

extension Reading {
    var isRequest: Bool { !header.isResponse }
    var error: NotifyType? { all.errorNotification?.type }
    /// The SPI of the first proposal: where its sender wants to receive.
    var offeredSPI: [UInt8] { all.securityAssociation?.proposals.first?.spi ?? [] }
    var nonce: [UInt8] { all.nonce ?? [] }
    /// The group that an INVALID_KE_PAYLOAD asks for.
    var wantedGroup: [UInt8]? { all.notification(.invalidKEPayload)?.data }
    var group: UInt16? { all.keyExchange?.group }
}

/// The four messages of two rekeys of one SA at the same time (RFC 7296 §2.8.1).
struct Contest {
    var requests: [Reading]
    var answers: [Side: Reading]

    /// Whose SA survives: the one whose exchange has not the lowest of the four nonces.
    var winner: Side { lowestOf(.west).lexicographicallyPrecedes(lowestOf(.east)) ? .east : .west }

    /// The lower nonce of the exchange that a side began.
    private func lowestOf(_ side: Side) -> [UInt8] {
        let own = requests[side.rawValue].nonce
        let answer = answers[side]?.nonce ?? own
        return own.lexicographicallyPrecedes(answer) ? own : answer
    }
}

extension Choreography {
    /// Both sides begin a rekey, and each request reaches the other; the answers are on the way.
    mutating func collide() throws -> Contest {
        let west = try pass(.west, where: { $0.isRequest })
        let east = try pass(.east, where: { $0.isRequest })
        return Contest(requests: [west, east], answers: [:])
    }

    /// Passes the answer to the rekey that `side` began.
    mutating func answer(_ side: Side, _ contest: inout Contest) throws {
        contest.answers[side] = try pass(side.other, where: { $0.isResponse })
    }

    /// Reads the answer to the rekey of `side` that is still on the way.
    func peek(_ side: Side, _ contest: inout Contest) throws {
        guard let message = flight.first(where: { $0.from == side.other && $0.reading.isResponse }) else {
            throw ChoreographyError.nothing(from: side.other, inFlight: [])
        }
        contest.answers[side] = message.reading
    }

    func downs(_ side: Side) -> [DownCause] {
        events[side.rawValue].compactMap { if case .ikeDown(_, let cause) = $0 { cause } else { nil } }
    }

    func childDowns(_ side: Side) -> [UInt32] {
        events[side.rawValue].compactMap {
            if case .childDown(_, let child, _) = $0 { child.id } else { nil }
        }
    }

    func childRekeys(_ side: Side) -> Int {
        events[side.rawValue].count { if case .childRekeyed = $0 { true } else { false } }
    }

    func ikeRekeys(_ side: Side) -> Int {
        events[side.rawValue].count { if case .ikeRekeyed = $0 { true } else { false } }
    }
}

/// After all messages and time enough for retries both sides have the same, and as much as there shall be.
func expectRight(
    _ play: inout Choreography,
    children: ClosedRange<Int> = 1...1,
    ikes: ClosedRange<Int> = 1...1,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    do {
        let difference = try play.settle(children: children, ikes: ikes)
        #expect(
            difference == nil,
            "\(play.log.joined(separator: "\n"))",
            sourceLocation: sourceLocation
        )
    } catch {
        Issue.record("\(error)\n\(play.log.joined(separator: "\n"))", sourceLocation: sourceLocation)
    }
}

/// Seeds enough for the lowest nonce to stand in each of the four messages.
let seedsOfNonces = Array(UInt64(1)...12)
