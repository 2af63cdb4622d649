import IKECore
import IKEMessages
import IPsecTypes
import Primitives
import Testing

@testable import IKEv2

/// SAs are deleted (RFC 7296 §1.4.1, §2.25.1, §2.25.2); the names are those of strongSwan's suite `child_delete`.
@Suite struct ChildDeleteScenarioTests {
    @Test(arguments: Side.allCases) func regular(_ side: Side) throws {
        var play = try Choreography.established()
        let (mine, theirs) = (try play.child(side), try play.child(side.other))
        try play.deleteChild(side)
        #expect(try play.pass(side).deletedSPIs == [mine.inboundSPI.octets])
        #expect(try play.pass(side.other).deletedSPIs == [theirs.inboundSPI.octets])
        expectRight(&play, children: 0...0)
        for side in Side.allCases { #expect(play.childDowns(side).count == 1) }
    }

    /// Both delete: each answers without a Delete payload.
    @Test func collision() throws {
        var play = try Choreography.established()
        for side in Side.allCases { try play.deleteChild(side) }
        for side in Side.allCases { try play.pass(side, where: { $0.isRequest }) }
        for side in Side.allCases { #expect(try play.pass(side).all.isEmpty) }
        expectRight(&play, children: 0...0)
        for side in Side.allCases { #expect(play.childDowns(side).count == 1) }
    }

    /// One DELETE is late: the other side knows of no collision.
    @Test(arguments: Side.allCases) func collisionDrop(_ side: Side) throws {
        var play = try Choreography.established()
        for side in Side.allCases { try play.deleteChild(side) }
        try play.lose(side)
        try play.pass(side.other)
        #expect(try play.pass(side, where: { $0.isResponse }).deletedSPIs.isEmpty)
        expectRight(&play, children: 0...0)
        for side in Side.allCases { #expect(play.childDowns(side).count == 1) }
    }

    /// §2.25.1: the IKE_SA is not rekeyed while a CHILD_SA of it is being closed; §2.25.2: the DELETE is answered.
    @Test(arguments: Side.allCases) func collisionIKERekey(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        let theirs = try play.child(b)
        try play.deleteChild(a)
        try play.rekeyIKE(b)
        try play.pass(a)
        try play.pass(b, where: { $0.isRequest })
        #expect(try play.pass(b, where: { $0.isResponse }).deletedSPIs == [theirs.inboundSPI.octets])
        #expect(try play.pass(a, where: { $0.isResponse }).error == .temporaryFailure)
        expectRight(&play, children: 0...0)
    }

    @Test(arguments: Side.allCases) func collisionIKEDelete(_ a: Side) throws {
        let b = a.other
        var play = try Choreography.established()
        try play.deleteChild(a)
        try play.deleteIKE(b)
        try play.pass(a)
        #expect(try play.pass(b, where: { $0.isRequest }).deletesIKE)
        try play.pass(a, where: { $0.isResponse })
        expectRight(&play, children: 0...0, ikes: 0...0)
    }
}

/// The names are those of strongSwan's suite `ike_delete`.
@Suite struct IKEDeleteScenarioTests {
    @Test(arguments: Side.allCases) func regular(_ side: Side) throws {
        var play = try Choreography.established()
        try play.deleteIKE(side)
        #expect(try play.pass(side).deletesIKE)
        #expect(try play.pass(side.other).all.isEmpty)
        expectRight(&play, children: 0...0, ikes: 0...0)
        for side in Side.allCases { #expect(play.downs(side).count == 1 && play.childDowns(side).count == 1) }
    }

    @Test func collision() throws {
        var play = try Choreography.established()
        for side in Side.allCases { try play.deleteIKE(side) }
        for side in Side.allCases { #expect(try play.pass(side, where: { $0.isRequest }).deletesIKE) }
        expectRight(&play, children: 0...0, ikes: 0...0)
        for side in Side.allCases { #expect(play.downs(side).count == 1 && play.childDowns(side).count == 1) }
    }
}
