import IKECore
import IPPackets
import IPsecTypes
import Primitives
import Vici

/// Messages of `explain`.
extension ViciLists {
    /// The `conversation` event: one IKE_SA from its first message on.
    static func conversation(_ conversation: Conversation) -> ViciMessage {
        ViciMessage { message in
            if let name = conversation.connection { message.set("connection", name) }
            if let id = conversation.ikeID { message.set("ike-id", id) }
            message.set("initiator", flag: conversation.isInitiator)
            if let local = conversation.local {
                message.set("local-host", local.address.description)
                message.set("local-port", local.port)
            }
            message.set("remote-host", conversation.remote.address.description)
            message.set("remote-port", conversation.remote.port)
            message.set("started", conversation.wallClock)
            message.set("outcome", conversation.outcome.rawValue)
            if let failure = conversation.failure {
                message.set("reason", failure.reason)
                message.set("cause", failure.text)
            }
            if conversation.dropped > 0 { message.set("dropped-lines", conversation.dropped) }
            message.section("lines") { lines in
                for (index, line) in conversation.lines.enumerated() {
                    lines.section("\(index + 1)", Self.line(line, since: conversation.startedAt))
                }
            }
        }
    }

    private static func line(_ line: Conversation.Line, since start: Instant) -> ViciMessage {
        ViciMessage { message in
            message.set("at", start.duration(to: line.at).wholeMilliseconds)
            message.set("kind", line.kind.rawValue)
            if !line.title.isEmpty { message.set("message", line.title) }
            message.set(line.kind == .event ? "event" : "contents", line.text)
            if line.octets > 0 { message.set("octets", line.octets) }
            if line.datagrams > 1 { message.set("fragments", line.datagrams) }
            if let path = line.path { message.set("path", path) }
            if line.count > 1 {
                message.set("count", line.count)
                message.set("last", start.duration(to: line.lastAt).wholeMilliseconds)
            }
            if line.repetitions > 0 { message.set("repeated", line.repetitions) }
        }
    }

    /// The `list-path` event: where a CHILD_SA's packets go.
    static func path(_ ike: IKESASnapshot, _ child: ChildSASnapshot, _ details: ChildDetails) -> ViciMessage {
        ViciMessage { message in
            message.section("\(child.tunnel)-\(child.id)") { section in
                section.set("connection", ike.connection)
                section.set("tunnel", child.tunnel)
                section.set("ike-id", ike.id)
                section.set("child-id", child.id)
                section.set("state", child.state.rawValue)
                section.set("encapsulation", child.encapsulation == .udp ? "udp" : "none")
                setPath(&section, child, details)
                section.set("nat-local", flag: ike.nat.isLocalBehindNAT)
                section.set("nat-remote", flag: ike.nat.isRemoteBehindNAT)
                section.set("mobike", flag: ike.isMobile)
            }
        }
    }
}
