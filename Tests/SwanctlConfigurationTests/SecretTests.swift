import Cryptography
import IPPackets
import Policy
import Testing
import Vici

@testable import SwanctlConfiguration

struct SecretTests {
    private func message(
        _ id: String?,
        type: String = "ike",
        data: String = "secret",
        owners: [String] = []
    ) -> ViciMessage {
        ViciMessage { message in
            if let id { message.set("id", id) }
            message.set("type", type)
            message.set("data", data)
            message.list("owners", owners)
        }
    }

    private func keys(_ configuration: LoadedConfiguration, _ local: Identity, _ remote: Identity) throws
        -> [String]
    {
        let address = try #require(IPAddress("192.0.2.1"))
        let other = try #require(IPAddress("192.0.2.2"))
        return configuration.keyring.keys(
            local: local,
            remote: remote,
            localAddress: address,
            remoteAddress: other
        ).map { String(decoding: $0.exposedForTesting(), as: UTF8.self) }
    }

    @Test func keysOfTheirOwners() throws {
        var configuration = LoadedConfiguration()
        try configuration.loadShared(message("ike-any", data: "any"))
        try configuration.loadShared(message("ike-sun", data: "sun", owners: ["moon", "sun"]))
        try configuration.loadShared(message("ike-mars", data: "mars", owners: ["@mars"]))
        #expect(configuration.sharedIdentifiers == ["ike-any", "ike-sun", "ike-mars"])
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")).first == "sun")
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("mars")).first == "mars")
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("venus")) == ["any"])
        try configuration.loadShared(message("ike-sun", data: "sun2", owners: ["moon", "sun"]))
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")).first == "sun2")
        #expect(configuration.sharedIdentifiers == ["ike-any", "ike-sun", "ike-mars"])
        try configuration.unloadShared("ike-any")
        try configuration.unloadShared("ike-none")
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("venus")) == [])
    }

    /// A key whose only owner cannot be an identity must not become everybody's.
    @Test func ownersThatCannotMatchOpenNothing() throws {
        var configuration = LoadedConfiguration()
        try configuration.loadShared(message("ike-net", owners: ["fqdn:^gw[0-9]+$"]))
        #expect(configuration.sharedIdentifiers == ["ike-net"])
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")) == [])
    }

    @Test func otherTypesAreKeptButAreNoKeysOfIKE() throws {
        var configuration = LoadedConfiguration()
        for type in ["eap", "xauth", "ntlm", "ppk", "EAP"] {
            try configuration.loadShared(message("x-\(type)", type: type))
        }
        #expect(configuration.sharedIdentifiers == ["x-eap", "x-xauth", "x-ntlm", "x-ppk", "x-EAP"])
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")) == [])
    }

    @Test func oneWithoutIdentifierWorksUntilCleared() throws {
        var configuration = LoadedConfiguration()
        try configuration.loadShared(message(nil, data: "a"))
        try configuration.loadShared(message(nil, data: "b"))
        #expect(configuration.sharedIdentifiers.isEmpty)
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")) == ["a", "b"])
        configuration.clearCredentials()
        #expect(try keys(configuration, .fqdn("moon"), .fqdn("sun")) == [])
    }

    @Test func connectionsHaveTheKeyringOfTheMoment() throws {
        var configuration = LoadedConfiguration()
        for message in SwanctlFile(connectionText()).connections { try configuration.loadConnection(message) }
        #expect(configuration.connections.first?.policy.sharedKeys == SharedKeyring([]))
        try configuration.loadShared(message("ike-late"))
        #expect(configuration.connections.first?.policy.sharedKeys.entries.map { $0.id } == ["ike-late"])
        #expect(configuration.connection("c")?.policy.sharedKeys.entries.count == 1)
    }

    @Test func refusals() throws {
        let cases: [(ViciMessage, String)] = [
            (ViciMessage { $0.set("data", "x") }, "shared key type missing"),
            (message("a", type: "rsa"), "invalid shared key type: rsa"),
            (message("a", data: ""), "shared key data missing"),
            (message("a", owners: ["mo\u{7f}on"]), "parsing shared key owners failed"),
            (message("a\n"), "invalid shared key id"),
            (
                message("a", data: String(repeating: "x", count: LoadLimits.secretOctets + 1)),
                "limit of 4096 octets of a secret reached"
            ),
            (
                message("a", owners: [String](repeating: "x", count: LoadLimits.owners + 1)),
                "limit of 64 owners reached"
            ),
        ]
        for (message, expected) in cases {
            var configuration = LoadedConfiguration()
            let refusal = #expect(throws: LoadRefusal.self) { try configuration.loadShared(message) }
            #expect(refusal?.description == expected)
            #expect(configuration.sharedIdentifiers.isEmpty)
        }
    }
}
