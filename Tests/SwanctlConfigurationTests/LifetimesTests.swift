import IPsecTypes
import Policy
import Testing

@testable import SwanctlConfiguration

struct LifetimesTests {
    struct Case: Sendable {
        let keys: String
        let rekey: Int?
        let jitter: Int
        let hard: Int?
        var reauth: Int?
    }

    /// Times of an IKE_SA in seconds, as charon derives them.
    @Test(arguments: [
        Case(keys: "", rekey: 14_400, jitter: 1_440, hard: 15_840),
        Case(keys: "rekey_time = 1h", rekey: 3_600, jitter: 360, hard: 3_960),
        Case(keys: "rekey_time = 0", rekey: nil, jitter: 0, hard: nil),
        Case(keys: "reauth_time = 1h", rekey: nil, jitter: 360, hard: 3_960, reauth: 3_600),
        Case(
            keys: "rekey_time = 1h\nreauth_time = 3h",
            rekey: 3_600,
            jitter: 1_080,
            hard: 4_680,
            reauth: 10_800
        ),
        Case(keys: "rekey_time = 60\nover_time = 100", rekey: 60, jitter: 30, hard: 160),
        Case(keys: "rekey_time = 60\nover_time = 0", rekey: 60, jitter: 0, hard: 60),
        Case(keys: "rekey_time = 60\nrand_time = 5", rekey: 60, jitter: 5, hard: 66),
        Case(keys: "rekey_time = 60\nrand_time = 500", rekey: 60, jitter: 60, hard: 66),
        Case(keys: "rekey_time = 4294967295", rekey: 315_360_000, jitter: 315_360_000, hard: 315_360_000),
    ])
    func ofIKE(_ test: Case) throws {
        let policy = try load(connectionText(test.keys)).policy
        #expect(policy.lifetime.rekey == test.rekey.map { .seconds($0) })
        #expect(policy.lifetime.jitter == .seconds(test.jitter))
        #expect(policy.lifetime.hard == test.hard.map { .seconds($0) })
        #expect(policy.reauthentication == test.reauth.map { .seconds($0) })
    }

    /// Times of a CHILD_SA.
    @Test(arguments: [
        Case(keys: "", rekey: 3_600, jitter: 360, hard: 3_960),
        Case(keys: "rekey_time = 10m", rekey: 600, jitter: 60, hard: 660),
        Case(keys: "life_time = 1h", rekey: 3_272, jitter: 328, hard: 3_600),
        Case(keys: "rekey_time = 10m\nlife_time = 1h", rekey: 600, jitter: 600, hard: 3_600),
        Case(keys: "rekey_time = 0", rekey: nil, jitter: 0, hard: nil),
        Case(keys: "rekey_time = 0\nlife_time = 1h", rekey: nil, jitter: 0, hard: 3_600),
        Case(keys: "rekey_time = 10m\nlife_time = 0", rekey: 600, jitter: 0, hard: nil),
        Case(keys: "rekey_time = 10m\nlife_time = 5m", rekey: 600, jitter: 0, hard: 300),
        Case(keys: "rekey_time = 10m\nrand_time = 7", rekey: 600, jitter: 7, hard: 660),
    ])
    func ofChildren(_ test: Case) throws {
        let tunnel = try #require(try load(connectionText(child: test.keys)).policy.tunnels.first)
        #expect(tunnel.lifetime.rekey == test.rekey.map { .seconds($0) })
        #expect(tunnel.lifetime.jitter == .seconds(test.jitter))
        #expect(tunnel.lifetime.hard == test.hard.map { .seconds($0) })
    }

    @Test(
        arguments: [
            ("", nil, nil), ("rekey_bytes = 1000", 1_000, 1_100), ("life_bytes = 1100", 1_000, 1_100),
            ("rekey_bytes = 1k\nlife_bytes = 1g", 1_024, 1_073_741_824), ("rekey_bytes = 0", nil, nil),
            ("rekey_bytes = 18446744073709551615", .max, .max),
            ("life_bytes = 18446744073709551615g", 16_769_767_339_735_956_013, .max),
            ("rekey_bytes = 1000\nrand_bytes = 10", 1_000, 1_100),
        ] as [(String, UInt64?, UInt64?)]
    )
    func volumes(_ keys: String, _ rekey: UInt64?, _ limit: UInt64?) throws {
        let octets = try #require(try load(connectionText(child: keys)).policy.tunnels.first)
        #expect(octets.rekeyVolume == SAVolume(octets: rekey))
        #expect(octets.limit == SAVolume(octets: limit))
        let text = keys.replacing("bytes", with: "packets")
        guard !text.contains("k\n"), !text.contains("g") else { return }
        let packets = try #require(try load(connectionText(child: text)).policy.tunnels.first)
        #expect(packets.rekeyVolume == SAVolume(packets: rekey))
        #expect(packets.limit == SAVolume(packets: limit))
    }
}
