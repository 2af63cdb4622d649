import IKECore
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKEv2

/// Addresses that we ask the peer for (RFC 7296 §2.19).
@Suite struct VirtualAddressTests {
    private typealias Attribute = ConfigurationPayload.Attribute
    private typealias AttributeType = ConfigurationPayload.AttributeType
    private static let dynamic = ConfiguredSelector.dynamic(ipProtocol: 0, ports: 0...65535)

    private static func policy(_ wishes: [String]) throws -> ConnectionPolicy {
        var policy = PolicyFixture(.initiator).policy
        policy.requestedAddresses = try wishes.map { try IPAddress($0).unwrapped }
        policy.tunnels[0].localSelectors = [dynamic]
        return policy
    }

    /// An engine that has sent IKE_AUTH, and what it said.
    private struct Asked {
        var lone: LoneEngine
        var puppet: Puppet
        let payloads: [Payload]

        init(_ wishes: [String]) throws {
            lone = LoneEngine(.initiator, PolicyFixture(.initiator))
            lone.engine.handle(.setPolicies([try policy(wishes)]), at: .zero)
            puppet = try Puppet(.responder)
            let start = EngineInput.initiate(
                connection: "net",
                tunnel: "sub",
                local: lone.local,
                remote: puppet.endpoint
            )
            let request = try lone.handle(start).first.unwrapped
            let auth = try lone.receive(puppet.answer(request), from: puppet.endpoint).first.unwrapped
            payloads = try puppet.open(auth)
        }

        /// The puppet gives these attributes and narrows our side to `selectors`.
        mutating func answer(_ attributes: [Attribute]?, ours selectors: [String]) throws {
            var payloads = try puppet.authPayloads().filter {
                if case .initiatorSelectors = $0 { false } else { true }
            }
            payloads.append(.initiatorSelectors(TSPayload(selectors.map { selector($0) })))
            if let attributes { payloads.append(.configuration(ConfigurationPayload(.reply, attributes))) }
            lone.receive(
                try puppet.seal(payloads, .ikeAuth, id: 1, isResponse: true),
                from: puppet.endpoint
            )
        }

        var installed: ChildSAInstallation? {
            lone.outputs.lazy.compactMap { output -> ChildSAInstallation? in
                if case .install(let installation) = output { installation } else { nil }
            }.first
        }

        var childFailure: DownCause? {
            lone.outputs.lazy.compactMap { output -> DownCause? in
                if case .event(.childFailed(_, _, let cause)) = output { cause } else { nil }
            }.first
        }
    }

    private static func v4(_ text: String) throws -> Attribute {
        Attribute(type: AttributeType.ipv4Address, value: try IPAddress(text).unwrapped.octets)
    }

    @Test func asksForAnyAddressAndOffersThemAll() throws {
        let asked = try Asked(["0.0.0.0", "::"])
        let request = try asked.payloads.configuration.unwrapped
        #expect(request.kind == .request)
        #expect(request.attributes.map { $0.type } == [1, 8, 3, 10, 25])
        #expect(request.attributes.allSatisfy { $0.value.isEmpty })
        #expect(asked.payloads.initiatorSelectors?.selectors.map { $0.description } == ["0.0.0.0/0", "::/0"])
    }

    @Test func asksForTheConfiguredOne() throws {
        let asked = try Asked(["10.3.0.7"])
        let request = try asked.payloads.configuration.unwrapped
        #expect(request.attributes.first == (try Self.v4("10.3.0.7")))
        #expect(asked.payloads.initiatorSelectors?.selectors.map { $0.description } == ["10.3.0.7/32"])
    }

    @Test func theGivenAddressIsOurSide() throws {
        var asked = try Asked(["0.0.0.0"])
        let server = Attribute(type: AttributeType.ipv4DNS, value: [10, 2, 0, 53])
        let domain = Attribute(type: AttributeType.dnsDomain, value: Array("corp.example".utf8))
        let odd = Attribute(type: AttributeType.dnsDomain, value: Array("evil\nnameserver 1.2.3.4".utf8))
        try asked.answer([Self.v4("10.3.0.1"), server, domain, odd], ours: ["10.3.0.1/32"])
        let sa = try asked.lone.engine.snapshots.first.unwrapped
        #expect(sa.virtualAddresses.map { $0.description } == ["10.3.0.1"])
        #expect(sa.nameServers.map { $0.description } == ["10.2.0.53"])
        #expect(sa.searchDomains == ["corp.example"])
        let description = try asked.installed.unwrapped.description
        #expect(description.localSelectors.map { $0.description } == ["10.3.0.1/32"])
        // A further CHILD_SA and a rekey use it too, not the outer address.
        asked.lone.forgetOutputs()
        let rekey = try asked.lone.handle(.rekeyChild(id: description.id)).first.unwrapped
        let offered = try asked.puppet.open(rekey).initiatorSelectors.unwrapped.selectors
        #expect(offered.map { $0.description } == ["10.3.0.1/32"])
    }

    /// A responder that does not narrow gets nothing but the address through.
    @Test func selectorsThatWereLeftWideAreNarrowed() throws {
        var asked = try Asked(["0.0.0.0"])
        try asked.answer([Self.v4("10.3.0.1")], ours: ["0.0.0.0/0"])
        #expect(
            asked.installed?.description.localSelectors.map { $0.description } == ["10.3.0.1/32"]
        )
    }

    @Test func aPeerThatGivesNoneIsTold() throws {
        for attributes in [nil, [], [Attribute(type: AttributeType.ipv6Address)]] as [[Attribute]?] {
            var asked = try Asked(["0.0.0.0"])
            try asked.answer(attributes, ours: ["0.0.0.0/0"])
            #expect(asked.installed == nil)
            guard case .noVirtualAddress = asked.childFailure else {
                Issue.record("\(String(describing: asked.childFailure))")
                continue
            }
        }
    }

    @Test func anAddressOfThisMachineIsNotTaken() throws {
        var asked = try Asked(["0.0.0.0"])
        let own = try IPAddress("192.168.1.9").unwrapped
        asked.lone.handle(.localAddresses([own]))
        try asked.answer([Self.v4("192.168.1.9")], ours: ["192.168.1.9/32"])
        #expect(asked.installed == nil && asked.childFailure != nil)
    }

    /// Of a family that was not asked for, or that is no host's.
    @Test func uselessAddressesAreLeftOut() throws {
        var asked = try Asked(["0.0.0.0"])
        let v6 = Attribute(
            type: AttributeType.ipv6Address,
            value: try IPAddress("fec3::1").unwrapped.octets + [128]
        )
        try asked.answer(
            [v6, Self.v4("127.0.0.1"), Self.v4("224.0.0.1"), Self.v4("10.3.0.1"), Self.v4("10.3.0.1")],
            ours: ["10.3.0.1/32"]
        )
        #expect(
            asked.lone.engine.snapshots.first?.virtualAddresses.map { $0.description } == ["10.3.0.1"]
        )
    }

    @Test func theNextAttemptAsksForTheSameAddress() throws {
        var asked = try Asked(["0.0.0.0"])
        try asked.answer([Self.v4("10.3.0.1")], ours: ["10.3.0.1/32"])
        let id = try asked.lone.engine.snapshots.first.unwrapped.id
        let delete = try asked.lone.handle(.terminateIKE(id: id, cause: .localRequest)).first.unwrapped
        let number = try ReceivedMessage.header(of: delete).messageID
        asked.lone.receive(
            try asked.puppet.seal([], .informational, id: number, isResponse: true),
            from: asked.puppet.endpoint
        )
        #expect(asked.lone.engine.snapshots.isEmpty)
        var puppet = try Puppet(.responder, number: 2)
        let request = try asked.lone.handle(
            .initiate(connection: "net", tunnel: "sub", local: asked.lone.local, remote: puppet.endpoint)
        ).first.unwrapped
        let auth = try asked.lone.receive(puppet.answer(request), from: puppet.endpoint).first.unwrapped
        let wish = try puppet.open(auth).configuration.unwrapped
        #expect(wish.attributes.first == (try Self.v4("10.3.0.1")))
    }
}
