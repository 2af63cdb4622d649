import IPPackets
import Policy
import Testing

@Suite("Remote addresses")
struct RemoteAddressTests {
    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test func aListPermitsWhatItNames() throws {
        let (one, two) = (try address("192.0.2.1"), try address("2001:db8::2"))
        let network = try #require(IPPrefix("198.51.100.0/24"))
        let list = RemoteAddress([.name("peer.example"), .address(one), .prefix(network)])
        let (inside, stranger) = (try address("198.51.100.7"), try address("203.0.113.9"))
        #expect(list.permits(one) && list.permits(inside) && !list.permits(two))
        let answered = list.answered(["peer.example": [two], "other.example": [stranger]])
        #expect(answered.permits(two) && !answered.permits(stranger))
        #expect(answered != list && answered.configured == list)
        #expect(answered.initiatorTargets == [two, one] && list.initiatorTargets == [one])
        #expect(list.description == "peer.example, 192.0.2.1, 198.51.100.0/24")
        #expect(list.hostTexts.count == 3 && RemoteAddress.any.hostTexts == ["%any"])
        #expect(list.names == ["peer.example"] && RemoteAddress.any.names.isEmpty)
    }

    @Test func targetsNameEachAddressOnce() throws {
        let one = try address("192.0.2.1")
        let list = RemoteAddress([.address(one), .name("a"), .name("b")])
        #expect(list.answered(["a": [one], "b": [one]]).initiatorTargets == [one])
    }

    @Test func onlyAddressesAndNamesCanBeCalled() throws {
        let network = try #require(IPPrefix("198.51.100.0/24"))
        #expect(!RemoteAddress.any.canInitiate && !RemoteAddress([.prefix(network)]).canInitiate)
        #expect(RemoteAddress([.name("a")]).canInitiate && RemoteAddress([.name("a")]).initiatorTarget == nil)
        let one = try address("192.0.2.1")
        #expect(RemoteAddress([.address(one)]) == .address(one))
    }
}
