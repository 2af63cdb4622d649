import Testing
import Vici

@Suite struct TranscriptTextTests {
    private static let conversation = ViciMessage { message in
        message.set("connection", "branch")
        message.set("ike-id", 7)
        message.set("initiator", flag: true)
        message.set("local-host", "192.0.2.1")
        message.set("local-port", 500)
        message.set("remote-host", "192.0.2.2")
        message.set("remote-port", 500)
        message.set("outcome", "failed")
        message.set("reason", "peer-AUTHENTICATION_FAILED")
        message.set("cause", "the peer answered AUTHENTICATION_FAILED")
        message.section("lines") { lines in
            lines.section("1") { line in
                line.set("at", 0)
                line.set("kind", "sent")
                line.set("message", "IKE_SA_INIT request 0")
                line.set(
                    "contents",
                    "SA(IKE:AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519) KE(CURVE_25519) Ni"
                )
                line.set("octets", 432)
                line.set("count", 3)
                line.set("last", 4_200)
                line.set("repeated", 2)
            }
            lines.section("2") { line in
                line.set("at", 61_234)
                line.set("kind", "received")
                line.set("message", "IKE_AUTH response 1")
                line.set("contents", "N(AUTHENTICATION_FAILED\u{1b}[2J)")
                line.set("octets", 57)
            }
            lines.section("3") { line in
                line.set("at", 61_235)
                line.set("kind", "event")
                line.set("event", "branch: attempt to 192.0.2.2[500] failed")
            }
        }
    }

    @Test func isOneLineAMessageWithin80Columns() {
        let text = TranscriptText(Self.conversation).text(started: "2026-01-02 03:04:05")
        let expected = """
            2026-01-02 03:04:05  branch: IKE_SA [7], we began, 192.0.2.1[500] ...
                192.0.2.2[500]
               +0.000 → IKE_SA_INIT request 0
                      [SA(IKE:AES_GCM_16_256/PRF_HMAC_SHA2_256/CURVE_25519) KE(CURVE_25519)
                      Ni] 432 octets, 3 times, last at +4.200, 2 of them sent again
              +61.234 ← IKE_AUTH response 1 [N(AUTHENTICATION_FAILED?[2J)] 57 octets
              +61.235 * branch: attempt to 192.0.2.2[500] failed
              → failed (peer-AUTHENTICATION_FAILED)

            """
        #expect(text == expected)
        let lines: [Substring] = text.split(separator: "\n" as Character)
        #expect(lines.allSatisfy { $0.count <= StatusReport.columns })
    }

    @Test func anEmptyOneIsNoTrap() {
        #expect(
            TranscriptText(ViciMessage()).text(started: "-").hasPrefix(
                "-  no IKE_SA, the peer began, ? ... ?"
            )
        )
    }
}
