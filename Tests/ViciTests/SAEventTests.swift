import Testing
import Vici

@Suite struct SAEventTests {
    private static func sa(_ id: Int = 1, remoteID: String = "branch.example.net") -> ViciMessage {
        ViciMessage { sa in
            sa.set("uniqueid", id)
            sa.set("version", 2)
            sa.set("local-host", "192.0.2.1")
            sa.set("local-port", 4500)
            sa.set("remote-host", "192.0.2.2")
            sa.set("remote-port", 4500)
            sa.set("remote-id", remoteID)
            sa.set("encr-alg", "AES_GCM_16")
            sa.set("encr-keysize", 256)
            sa.set("prf-alg", "PRF_HMAC_SHA2_384")
            sa.set("dh-group", "ECP_384")
        }
    }

    private static func child(_ id: Int) -> ViciMessage {
        ViciMessage { child in
            child.set("name", "net")
            child.set("uniqueid", id)
            child.set("encap", flag: true)
            child.set("encr-alg", "AES_GCM_16")
            child.set("encr-keysize", 128)
            child.set("bytes-in", 2048)
            child.set("packets-in", 4)
            child.set("bytes-out", 10)
            child.set("packets-out", 1)
            child.list("local-ts", ["10.1.0.0/24"])
            child.list("remote-ts", ["10.2.0.0/24", "10.3.0.0/24"])
        }
    }

    private static func updown(_ up: Bool, _ sa: ViciMessage, reason: String? = nil) -> ViciMessage {
        ViciMessage { message in
            if up { message.set("up", flag: true) }
            if let reason { message.set("cause", reason) }
            message.section("branch", sa)
        }
    }

    private static func childUpdown(_ up: Bool, reason: String? = nil) -> ViciMessage {
        var sa = sa()
        sa.section("child-sas") { $0.section("net-7", child(7)) }
        return updown(up, sa, reason: reason)
    }

    @Test func tellsAnIKESAThatCameUp() {
        let event = SAEvent(name: "ike-updown", message: Self.updown(true, Self.sa()))
        #expect(event.connection == "branch")
        #expect(event.isUp == true)
        #expect(
            event.text == "branch: IKE_SA [1] with 192.0.2.2[4500] (branch.example.net) is up, "
                + "IKEv2 AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
        )
    }

    @Test func tellsWhyAnIKESAWentDown() {
        let message = Self.updown(false, Self.sa(remoteID: "192.0.2.2"), reason: "deleted by the peer")
        let event = SAEvent(name: "ike-updown", message: message)
        #expect(event.isUp == false)
        #expect(event.text == "branch: IKE_SA [1] with 192.0.2.2[4500] is down: deleted by the peer")
    }

    @Test func tellsAChildSAThatCameUp() {
        let event = SAEvent(name: "child-updown", message: Self.childUpdown(true))
        #expect(
            event.text == "branch/net: CHILD_SA {7} is up, 10.1.0.0/24 ↔ 10.2.0.0/24 10.3.0.0/24, "
                + "ESP in UDP AES_GCM_16-128"
        )
    }

    @Test func tellsWhatAChildSAHadCarriedWhenItWentDown() {
        let event = SAEvent(name: "child-updown", message: Self.childUpdown(false))
        #expect(
            event.text == "branch/net: CHILD_SA {7} is down "
                + "(it carried in 2.0 KiB (4 packets), out 10 B (1 packets))"
        )
    }

    @Test func tellsRekeysOfBothKinds() {
        let ike = ViciMessage { message in
            message.section("branch") { section in
                section.section("old", Self.sa(1))
                section.section("new", Self.sa(2))
            }
        }
        #expect(
            SAEvent(name: "ike-rekey", message: ike).text
                == "branch: IKE_SA [1] rekeyed: [2] takes over, "
                + "IKEv2 AES_GCM_16-256/PRF_HMAC_SHA2_384/ECP_384"
        )
        let event = SAEvent(name: "child-rekey", message: Self.childRekey)
        #expect(
            event.text == "branch/net: CHILD_SA {7} rekeyed: {8} takes over, ESP in UDP AES_GCM_16-128"
        )
    }

    private static let childRekey = ViciMessage { message in
        var ike = sa()
        ike.section("child-sas") { list in
            list.section("net") { section in
                section.section("old", child(7))
                section.section("new", child(8))
            }
        }
        message.section("branch", ike)
    }

    @Test func tellsWhereAnIKESAMovesTo() {
        let message = ViciMessage { message in
            message.set("local-host", "192.0.2.1")
            message.set("local-port", 4500)
            message.set("remote-host", "198.51.100.9")
            message.set("remote-port", 1024)
            message.section("branch", Self.sa())
        }
        #expect(
            SAEvent(name: "ike-update", message: message).text
                == "branch: IKE_SA [1] moves from 192.0.2.1[4500]...192.0.2.2[4500] "
                + "to 192.0.2.1[4500]...198.51.100.9[1024]"
        )
    }

    @Test func tellsAlertsInPlainWords() {
        let known = ViciMessage { message in
            message.set("type", "proposal-mismatch-ike")
            message.section("ike-sa") { $0.section("branch", Self.sa()) }
        }
        #expect(SAEvent(name: "alert", message: known).text == "branch: alert: no common IKE proposal")
        let unknown = ViciMessage { $0.set("type", "something-new") }
        #expect(SAEvent(name: "alert", message: unknown).text == "alert: something-new")
    }

    @Test func survivesEventsWithoutTheirParts() {
        for name in SAEvent.names + ["unheard-of"] {
            #expect(!SAEvent(name: name, message: ViciMessage()).text.isEmpty)
        }
    }

    @Test func doesNotLetAPeerSteerTheTerminal() {
        let message = Self.updown(true, Self.sa(remoteID: "a\u{1b}[2J\nb"))
        let text = SAEvent(name: "ike-updown", message: message).text
        #expect(text.contains("(a?[2J?b)"))
    }

    @Test func jsonHasTheDocumentedKeys() {
        let down = SAEvent(name: "child-updown", message: Self.childUpdown(false, reason: "requested here"))
        #expect(
            down.json(time: "T").hasPrefix(
                #"{"time":"T","event":"child-updown","connection":"branch","tunnel":"net","up":false,"#
                    + #""ike-id":1,"child-id":7,"reason":"requested here","data":{"cause":"#
            )
        )
        let rekey = SAEvent(name: "child-rekey", message: Self.childRekey).json(time: "T")
        #expect(
            rekey.hasPrefix(
                #"{"time":"T","event":"child-rekey","connection":"branch","tunnel":"net","ike-id":1,"#
                    + #""child-id":7,"new-child-id":8,"data":{"branch":"#
            )
        )
    }
}

@Suite struct LogRecordTests {
    private static let event = ViciMessage { message in
        message.set("group", "CHD")
        message.set("level", 2)
        message.set("thread", 0)
        message.set("ikesa-name", "branch")
        message.set("ikesa-uniqueid", 3)
        message.set("msg", "CHILD_SA established\u{7}")
    }

    @Test func namesTheConnectionUnlessTheTextDoes() {
        #expect(LogRecord(Self.event).line == "CHD branch[3]: CHILD_SA established?")
        let named = ViciMessage { message in
            message.set("group", "IKE")
            message.set("ikesa-name", "branch")
            message.set("msg", "branch: sending IKE_SA_INIT")
        }
        #expect(LogRecord(named).line == "IKE branch: sending IKE_SA_INIT")
        #expect(LogRecord(ViciMessage { $0.set("msg", "up") }).line == "DMN up")
    }

    @Test func choosesByLevelAndConnection() {
        let record = LogRecord(Self.event)
        #expect(record.isWanted(level: 2, connection: nil))
        #expect(record.isWanted(level: 4, connection: "branch"))
        #expect(!record.isWanted(level: 1, connection: nil))
        #expect(!record.isWanted(level: 4, connection: "other"))
    }

    @Test func jsonHasTheDocumentedKeys() {
        #expect(
            LogRecord(Self.event).json(time: "T")
                == #"{"time":"T","level":2,"group":"CHD","connection":"branch","ike-id":3,"#
                + #""message":"CHILD_SA established\u0007"}"#
        )
    }
}
