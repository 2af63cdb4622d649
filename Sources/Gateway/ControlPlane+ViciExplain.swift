import GatewayConfiguration
import IKECore
import IKEv2
import IPPackets
import LinuxIO
import Policy
import Primitives
import Vici

/// Commands that strongSwan lacks: what was said with a peer, where packets go, what was dropped, how all stands.
extension ControlPlane {
    /// Answers `explain`: the conversations of a connection, with an address, or those that belong to no connection.
    func explain(_ request: ViciRequest) {
        let found: [Conversation]
        if let name = request.message.string("connection") {
            guard connection(named: name) != nil else {
                return request.reply(.failure("there is no connection '\(name)'"))
            }
            found = transcripts.conversations(of: name)
        } else if let text = request.message.string("peer") {
            guard let address = IPAddress(text) else {
                return request.reply(.failure("'\(text)' is no IP address"))
            }
            found = transcripts.conversations(with: address)
        } else {
            found = transcripts.strangerConversations
        }
        request.streamAll(
            "conversation",
            found.count,
            { ViciRequest.frame("conversation", ViciLists.conversation(found[$0])) },
            .success
        )
    }

    /// Answers `list-paths`, on the server's queue.
    nonisolated static func listPaths(_ request: ViciRequest, _ board: StatusBoard) {
        let listed = board.listed(connection: request.message.string("ike"))
        request.streamAll(
            "list-path",
            listed.count,
            { index in
                let ike = listed[index].snapshot
                let details = board.details(of: ike)
                let message = ViciMessage { message in
                    for (child, known) in zip(ike.allChildren, details) {
                        message.elements += ViciLists.path(ike, child, known).elements
                    }
                }
                return ViciRequest.frame("list-path", message)
            },
            ViciMessage()
        )
    }

    /// Answers `get-drops`: each reason for which something was dropped, and how often.
    func getDrops(_ request: ViciRequest) {
        let showsAll = request.message.flag("all") ?? false
        let drops = dropCounters(withZeros: showsAll)
        request.reply(ViciMessage { $0.section("drops", drops) })
    }

    /// How many connections a summary names as down.
    private static let namedFailures = 20

    /// Answers `summary`: a page about the gateway that costs little however many connections there are.
    func summary(_ request: ViciRequest) {
        var tunnels = (total: 0, up: 0, wanted: 0, failing: 0)
        var connections: Set<String> = []
        var reasons: [String: Int] = [:]
        var failing: [(key: TunnelKey, failures: Int, cause: String)] = []
        for (key, entry) in supervisor.entries {
            tunnels.total += 1
            if entry.isUp {
                tunnels.up += 1
                connections.insert(key.connection)
            }
            if entry.shallBeUp { tunnels.wanted += 1 }
            guard !entry.isUp, let cause = entry.lastCause, entry.failures > 0 else { continue }
            tunnels.failing += 1
            failing.append((key, entry.failures, cause))
            reasons[String(cause.prefix { $0 != ":" }), default: 0] += 1
        }
        failing.sort { ($1.failures, $0.key) < ($0.failures, $1.key) }
        let volume = totalVolume()
        let drops = dropCounters(withZeros: false)
        request.reply(
            ViciMessage { message in
                message.set("name", description.name)
                message.set("uptime", startedAt.duration(to: MonotonicClock.now()).wholeSeconds)
                message.section("connections") { section in
                    section.set("total", description.connections.count)
                    section.set("up", connections.count)
                }
                message.section("tunnels") { section in
                    section.set("total", tunnels.total)
                    section.set("up", tunnels.up)
                    section.set("wanted", tunnels.wanted)
                    section.set("failing", tunnels.failing)
                }
                message.section("ike-sas") { section in
                    section.set("total", engine.count)
                    section.set("half-open", engine.halfOpenCount)
                }
                message.section("child-sas") { $0.set("total", children.count) }
                message.section("traffic") { section in
                    section.set("bytes-in", volume.octetsIn)
                    section.set("packets-in", volume.packetsIn)
                    section.set("bytes-out", volume.octetsOut)
                    section.set("packets-out", volume.packetsOut)
                }
                message.section("reasons") { section in
                    for (reason, count) in reasons.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) })
                        .prefix(Self.namedFailures)
                    { section.set(Self.elementName(reason), count) }
                }
                message.section("failing") { section in
                    for one in failing.prefix(Self.namedFailures) {
                        section.section(Self.elementName(one.key.description)) { entry in
                            entry.set("connection", one.key.connection)
                            entry.set("tunnel", one.key.tunnel)
                            entry.set("failures", one.failures)
                            entry.set("cause", one.cause)
                        }
                    }
                }
                message.section("drops", drops)
                message.set("transcript-bytes", transcripts.octets)
                message.set("control-delay-max", longestDelay.wholeMilliseconds)
            }
        )
    }

    /// What all CHILD_SAs have carried since the start.
    private func totalVolume() -> ChildCounters {
        counters.values.reduce(into: pastVolume) { sum, one in sum.add(one) }
    }

    /// The names of vici are printable ASCII of at most 255 octets.
    private static func elementName(_ text: String) -> String {
        let name = text.unicodeScalars.map { (0x20...0x7e).contains($0.value) ? Character($0) : "?" }
        return name.isEmpty ? "-" : String(name.prefix(255))
    }
}

extension ChildCounters {
    /// Adds what another CHILD_SA carried.
    mutating func add(_ other: ChildCounters) {
        packetsIn &+= other.packetsIn
        octetsIn &+= other.octetsIn
        packetsOut &+= other.packetsOut
        octetsOut &+= other.octetsOut
    }
}
