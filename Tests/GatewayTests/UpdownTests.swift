import Dispatch
import IKECore
import IPPackets
import IPsecTypes
import Logging
import Policy
import Primitives
import Synchronization
import Testing

@testable import Gateway

@Suite struct UpdownTests {
    private static func selector(
        _ text: String,
        ipProtocol: UInt8 = 0,
        ports: ClosedRange<UInt16> = 0...65535
    ) throws -> TrafficSelector {
        TrafficSelector(try #require(IPPrefix(text)), ipProtocol: ipProtocol, ports: ports)
    }

    private static func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    private static func environment(
        local: [TrafficSelector],
        remote: [TrafficSelector],
        remoteIdentity: Identity = .fqdn("branch.example.net"),
        tunnel: String = "net",
        encapsulation: Encapsulation = .udp
    ) throws -> UpdownEnvironment {
        let ours = try address("192.0.2.1")
        let theirs = try address("192.0.2.2")
        let ike = IKESASnapshot(
            id: 3,
            connection: "branch",
            state: .established,
            isInitiator: true,
            initiatorSPI: 1,
            responderSPI: 2,
            local: Endpoint(ours, 4500),
            remote: Endpoint(theirs, 1024),
            localIdentity: .address(ours),
            remoteIdentity: remoteIdentity
        )
        let child = ChildSASnapshot(
            id: 9,
            tunnel: tunnel,
            inboundSPI: try #require(SPI(0x1001)),
            outboundSPI: try #require(SPI(0x1002)),
            proposal: Proposal(securityProtocol: .esp, transforms: []),
            localSelectors: local,
            remoteSelectors: remote,
            encapsulation: encapsulation,
            installedAt: .zero
        )
        return UpdownEnvironment(ike, child, reqid: 5, outerInterface: "eth0", tunInterface: "causeway0")
    }

    private static func variables(_ environment: UpdownEnvironment, isUp: Bool = true) throws -> [String:
        String]
    {
        let pair = try #require(environment.pairs.first)
        return Dictionary(
            uniqueKeysWithValues: environment.variables(pair, isUp: isUp).map { ($0.name, $0.value) }
        )
    }

    @Test func tellsWhatStrongSwanTells() throws {
        let environment = try Self.environment(
            local: [Self.selector("10.1.0.0/24")],
            remote: [Self.selector("10.2.0.0/16", ipProtocol: 6, ports: 80...90)]
        )
        #expect(
            try Self.variables(environment) == [
                "PATH": UpdownEnvironment.path, "PLUTO_VERSION": "1.1", "PLUTO_VERB": "up-client",
                "PLUTO_CONNECTION": "net", "PLUTO_INTERFACE": "eth0", "PLUTO_REQID": "5",
                "PLUTO_PROTO": "esp",
                "PLUTO_UNIQUEID": "3", "PLUTO_ME": "192.0.2.1", "PLUTO_MY_ID": "192.0.2.1",
                "PLUTO_MY_CLIENT": "10.1.0.0/24", "PLUTO_MY_PORT": "0", "PLUTO_MY_PROTOCOL": "0",
                "PLUTO_PEER": "192.0.2.2", "PLUTO_PEER_ID": "branch.example.net",
                "PLUTO_PEER_CLIENT": "10.2.0.0/16", "PLUTO_PEER_PORT": "80:90", "PLUTO_PEER_PROTOCOL": "6",
                "PLUTO_UDP_ENC": "1024", "CAUSEWAY_CONNECTION": "branch", "CAUSEWAY_INTERFACE": "causeway0",
            ]
        )
    }

    @Test func namesTheVerbByAddressAndFamily() throws {
        let host = try Self.environment(
            local: [Self.selector("192.0.2.1")],
            remote: [Self.selector("192.0.2.2")],
            encapsulation: .none
        )
        #expect(try Self.variables(host)["PLUTO_VERB"] == "up-host")
        #expect(try Self.variables(host, isUp: false)["PLUTO_VERB"] == "down-host")
        #expect(try Self.variables(host)["PLUTO_UDP_ENC"] == nil)
        let six = try Self.environment(
            local: [Self.selector("2001:db8:1::/48")],
            remote: [Self.selector("2001:db8:2::/48")]
        )
        #expect(try Self.variables(six, isUp: false)["PLUTO_VERB"] == "down-client-v6")
    }

    @Test func runsOncePerPairThatPacketsCanMatch() throws {
        let environment = try Self.environment(
            local: [
                Self.selector("10.1.0.0/24"), Self.selector("2001:db8::/64"),
                Self.selector("10.9.0.0/24", ipProtocol: 6),
            ],
            remote: [Self.selector("10.2.0.0/24", ipProtocol: 17), Self.selector("10.3.0.0/24")]
        )
        #expect(
            environment.pairs.map { "\($0.local) \($0.remote)" } == [
                "10.1.0.0/24 10.2.0.0/24[udp]", "10.1.0.0/24 10.3.0.0/24", "10.9.0.0/24[tcp] 10.3.0.0/24",
            ]
        )
        let many = try (0..<100).map { try Self.selector("10.1.\($0).0/24") }
        let bounded = try Self.environment(local: many, remote: [Self.selector("10.2.0.0/24")])
        #expect(bounded.pairs.count == UpdownEnvironment.pairLimit)
        #expect(bounded.pairsLeftOut == 100 - UpdownEnvironment.pairLimit)
    }

    @Test func tellsICMPTypeAndCode() throws {
        let ping = try Self.selector("10.1.0.0/24", ipProtocol: 1, ports: 0x0803...0x0803)
        let values = try Self.variables(
            Self.environment(local: [ping], remote: [Self.selector("10.2.0.0/24")])
        )
        #expect(values["PLUTO_MY_PORT"] == "8")
        #expect(values["PLUTO_PEER_PORT"] == "3")
    }

    @Test func roundsARangeToTheNextBlock() throws {
        let range = try #require(TrafficSelector(Self.address("10.1.0.3"), Self.address("10.1.0.9")))
        #expect(UpdownEnvironment.block(range).description == "10.1.0.0/28")
        let all = try #require(TrafficSelector(Self.address("1.0.0.0"), Self.address("255.0.0.0")))
        #expect(UpdownEnvironment.block(all).description == "0.0.0.0/0")
    }

    @Test func tellsVirtualAddressesOfBothFamilies() throws {
        var environment = try Self.environment(
            local: [Self.selector("10.3.0.1")],
            remote: [Self.selector("10.1.0.0/16")]
        )
        environment.localVirtualAddresses = try ["10.3.0.1", "fec3::1", "10.3.0.2"].map(Self.address)
        let values = try Self.variables(environment)
        #expect(values["PLUTO_MY_SOURCEIP"] == "10.3.0.1")
        #expect(values["PLUTO_MY_SOURCEIP4_1"] == "10.3.0.1")
        #expect(values["PLUTO_MY_SOURCEIP4_2"] == "10.3.0.2")
        #expect(values["PLUTO_MY_SOURCEIP6_1"] == "fec3::1")
        #expect(values["PLUTO_PEER_SOURCEIP"] == nil)
    }

    @Test func aPeersIdentityIsPrintableASCII() throws {
        for identity in [
            Identity.fqdn("a\nPATH=/evil\u{1b}[0m\u{2028}é"), .keyID([0, 10, 255]), .email("x\u{7f}@y"),
        ] {
            let environment = try Self.environment(
                local: [Self.selector("10.1.0.0/24")],
                remote: [Self.selector("10.2.0.0/24")],
                remoteIdentity: identity
            )
            let value = try #require(try Self.variables(environment)["PLUTO_PEER_ID"])
            #expect(value.utf8.allSatisfy { (0x20...0x7e).contains($0) })
        }
        #expect(UpdownEnvironment.printable("a\nb\u{0}é") == "a?b???")
    }
}

@Suite struct UpdownRunnerTests {
    /// A log that tests read.
    private final class Lines: Sendable {
        private let lines = Mutex<[String]>([])

        var all: [String] { lines.withLock { $0 } }

        var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

        func append(_ line: String) { lines.withLock { $0.append(line) } }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var logLevel = Logger.Level.trace
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) { lines.append(event.message.description) }
    }

    private static func job(_ tunnel: String, _ command: String, isUp: Bool = true) throws -> UpdownRunner.Job
    {
        let environment = try UpdownTests.sample(tunnel: tunnel)
        return UpdownRunner.Job(
            entry: UpdownLedger.Entry(command: command, environment: environment),
            isUp: isUp
        )
    }

    private static func wait(_ runner: UpdownRunner) async {
        await withCheckedContinuation { continuation in
            runner.whenIdle(within: .seconds(30)) { continuation.resume() }
        }
    }

    @Test func runsThoseOfATunnelInOrderAndTellsOutputAndStatus() async throws {
        let lines = Lines()
        let runner = UpdownRunner(logger: lines.logger)
        for index in 0..<6 {
            let isUp = index.isMultiple(of: 2)
            #expect(
                runner.submit(
                    try Self.job("a", "sleep 0.0\(6 - index); echo \(index) $PLUTO_VERB", isUp: isUp)
                )
            )
        }
        await Self.wait(runner)
        let told = lines.all.filter { $0.contains("updown: ") }
        #expect(
            told
                == (0..<6).map {
                    "branch/a: updown: \($0) \($0.isMultiple(of: 2) ? "up" : "down")-client"
                }
        )
        #expect(lines.all.contains("branch/a: updown up-client ended with status 0"))
        #expect(runner.counters == UpdownRunner.Counters(runs: 6))
    }

    @Test func oneThatHangsIsKilledAndHoldsUpItsOwnTunnelOnly() async throws {
        let lines = Lines()
        let runner = UpdownRunner(logger: lines.logger, timeout: .milliseconds(1500))
        #expect(runner.submit(try Self.job("slow", "sleep 60")))
        #expect(runner.submit(try Self.job("slow", "echo late; exit 4", isUp: false)))
        #expect(runner.submit(try Self.job("quick", "echo early")))
        await Self.wait(runner)
        let all = lines.all
        let early = try #require(all.firstIndex(of: "branch/quick: updown: early"))
        let killed = try #require(
            all.firstIndex(of: "branch/slow: updown up-client was not done after 1 s and was killed")
        )
        let late = try #require(all.firstIndex(of: "branch/slow: updown: late"))
        #expect(early < killed && killed < late)
        #expect(all.contains("branch/slow: updown down-client ended with status 4"))
        #expect(runner.counters == UpdownRunner.Counters(runs: 3, failures: 2))
    }

    @Test func refusesUpsButNoDownsWhenTooManyWait() async throws {
        let runner = UpdownRunner(logger: Lines().logger, limit: 2, width: 1)
        #expect(runner.submit(try Self.job("a", "sleep 0.1")))
        #expect(runner.submit(try Self.job("b", "true")))
        #expect(!runner.submit(try Self.job("c", "true")))
        #expect(runner.submit(try Self.job("a", "true", isUp: false)))
        await Self.wait(runner)
        #expect(runner.counters == UpdownRunner.Counters(runs: 3, refusals: 1))
        #expect(runner.submit(try Self.job("c", "true")))
        await Self.wait(runner)
    }

    @Test func doesNotWaitLongerThanItMay() async throws {
        let runner = UpdownRunner(logger: Lines().logger, timeout: .seconds(12))
        #expect(runner.submit(try Self.job("a", "sleep 60")))
        let started = ContinuousClock.now
        // Taken where it is called: a busy test pool resumes late.
        let called = await withCheckedContinuation { continuation in
            runner.whenIdle(within: .milliseconds(200)) {
                continuation.resume(returning: ContinuousClock.now)
            }
        }
        #expect(called - started < .seconds(10))
        await Self.wait(runner)
    }

    @Test func everyUpIsFollowedByOneDownAcrossRekeys() throws {
        var ledger = UpdownLedger()
        let entry = UpdownLedger.Entry(command: "x", environment: try UpdownTests.sample(tunnel: "a"))
        ledger.up(1, entry)
        ledger.rekeyed(old: 1, new: 2)
        ledger.rekeyed(old: 7, new: 8)
        #expect(ledger.down(1) == nil)
        #expect(ledger.down(8) == nil)
        #expect(ledger.down(2) == entry)
        #expect(ledger.down(2) == nil)
        ledger.up(3, entry)
        #expect(ledger.removeAll() == [entry])
        #expect(ledger.removeAll().isEmpty)
    }
}

extension UpdownTests {
    /// An environment of one pair.
    static func sample(tunnel: String) throws -> UpdownEnvironment {
        try environment(
            local: [selector("10.1.0.0/24")],
            remote: [selector("10.2.0.0/24")],
            tunnel: tunnel
        )
    }
}
