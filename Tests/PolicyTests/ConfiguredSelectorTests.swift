import IPPackets
import IPsecTypes
import Policy
import Testing

@Suite struct ConfiguredSelectorTests {
    @Test func dynamicIsTheAddressInUse() throws {
        let any = ConfiguredSelector.dynamic(ipProtocol: 0, ports: 0...65535)
        let ssh = ConfiguredSelector.dynamic(ipProtocol: 6, ports: 22...22)
        let (v4, v6) = (try #require(IPAddress("192.0.2.1")), try #require(IPAddress("2001:db8::1")))
        #expect(any.resolved(at: [v4]).map { $0.description } == ["192.0.2.1/32"])
        #expect(any.resolved(at: [v4, v6]).map { $0.description } == ["192.0.2.1/32", "2001:db8::1/128"])
        #expect(ssh.resolved(at: [v4]).map { $0.description } == ["192.0.2.1/32[tcp/22]"])
        #expect(any.resolved(at: [.v4(.any), .v6(.any)]).map { $0.description } == ["0.0.0.0/0", "::/0"])
        #expect(any.description == "dynamic" && ssh.description == "dynamic[tcp/22]")
        #expect(any.fixed == nil)
    }

    @Test func fixedOnesStay() throws {
        let net = TrafficSelector(try #require(IPPrefix("10.1.0.0/16")))
        let selector = ConfiguredSelector.fixed(net)
        #expect(
            selector.resolved(at: [try #require(IPAddress("192.0.2.1"))]) == [net] && selector.fixed == net
        )
    }
}
