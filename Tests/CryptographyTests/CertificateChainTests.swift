import Cryptography
import Testing

/// Chains from a peer's certificate to an anchor (RFC 5280 §6, RFC 4945 §5).
@Suite struct CertificateChainTests {
    private static let now: Int64 = 1_800_000_000
    private static let year: Int64 = 365 * 86_400

    /// A key with its certificate.
    private struct Holder {
        let key: PrivateKeyInfo
        let certificate: CertificateInfo
    }

    private static func content(
        _ name: String,
        authority: CertificateContent.Authority? = nil,
        from: Int64 = now - year,
        until: Int64 = now + year
    ) -> CertificateContent {
        CertificateContent(
            subject: [("C", "CH"), ("O", "Example"), ("CN", name)],
            alternativeNames: authority == nil ? [.dns(name)] : [],
            authority: authority,
            notBefore: from,
            notAfter: until
        )
    }

    private static func make(_ content: CertificateContent, by issuer: Holder? = nil) throws -> Holder {
        let key = try PrivateKeyInfo.generate(.p256)
        let certificate = try (issuer?.key ?? key).issue(
            content,
            for: key.publicKey(),
            issuer: issuer?.certificate
        )
        return Holder(key: key, certificate: certificate)
    }

    private static func refusal(
        _ peer: [Holder],
        _ trust: CertificateTrust,
        at time: Int64 = now
    ) -> CertificateRefusal? {
        switch VerifiedCertificate.verify(peer: peer.map { $0.certificate.encoded }, by: trust, at: time) {
        case .success: nil
        case .failure(let refusal): refusal
        }
    }

    @Test func leadsOverIntermediatesToTheAnchor() throws {
        let root = try Self.make(Self.content("root", authority: .unlimited))
        let middle = try Self.make(Self.content("middle", authority: .pathLength(0)), by: root)
        var content = Self.content("moon.example")
        content.alternativeNames += [.email("moon@example"), .address([192, 0, 2, 1])]
        let leaf = try Self.make(content, by: middle)
        let trust = CertificateTrust(anchors: [root.certificate])
        let sent = [leaf, middle].map { $0.certificate.encoded }
        let verified = try VerifiedCertificate.verify(peer: sent, by: trust, at: Self.now).get()
        #expect(verified.subject == "C=CH, O=Example, CN=moon.example")
        #expect(verified.alternativeNames == content.alternativeNames)
        #expect(verified.chain == sent + [root.certificate.encoded])
        #expect(verified.publicKey.keyID == leaf.key.keyID)
        // The intermediate may come from the configuration instead, or be the anchor itself.
        let configured = CertificateTrust(anchors: [root.certificate], intermediates: [middle.certificate])
        #expect(Self.refusal([leaf], configured) == nil)
        #expect(Self.refusal([leaf], CertificateTrust(anchors: [middle.certificate])) == nil)
        #expect(Self.refusal([leaf], CertificateTrust(anchors: [leaf.certificate])) == nil, "pinned")
    }

    @Test func saysWhichCertificateFailsWhichCheck() throws {
        let root = try Self.make(Self.content("root", authority: .unlimited))
        let other = try Self.make(Self.content("other", authority: .unlimited))
        let leaf = try Self.make(Self.content("leaf"), by: root)
        let trust = CertificateTrust(anchors: [root.certificate])
        let stranger = try #require(Self.refusal([leaf], CertificateTrust(anchors: [other.certificate])))
        #expect(stranger.depth == 0 && stranger.reason == "unable to get local issuer certificate")
        let late = try #require(Self.refusal([leaf], trust, at: Self.now + 2 * Self.year))
        #expect(late.reason == "certificate has expired")
        let early = try #require(Self.refusal([leaf], trust, at: Self.now - 2 * Self.year))
        #expect(early.reason == "certificate is not yet valid")
        let gone = Self.content("gone", authority: .unlimited, until: Self.now - 1)
        let expired = try Self.make(gone, by: root)
        let below = try Self.make(Self.content("below"), by: expired)
        let above = try #require(Self.refusal([below, expired], trust))
        #expect(above.depth == 1 && above.subject.contains("CN=gone"))
        #expect("\(above)".contains("issuer 'C=CH, O=Example, CN=gone' (1 above): certificate has expired"))
        #expect(Self.refusal([], trust) != nil)
    }

    @Test func anEndEntityIsNoAuthority() throws {
        let root = try Self.make(Self.content("root", authority: .unlimited))
        let user = try Self.make(Self.content("user"), by: root)
        let forged = try Self.make(Self.content("admin"), by: user)
        let trust = CertificateTrust(anchors: [root.certificate])
        let refusal = try #require(Self.refusal([forged, user], trust))
        #expect(refusal.depth == 1 && refusal.subject.contains("CN=user"))
    }

    @Test func pathLengthsAndNameConstraintsHold() throws {
        let root = try Self.make(Self.content("root", authority: .pathLength(0)))
        let middle = try Self.make(Self.content("middle", authority: .unlimited), by: root)
        let leaf = try Self.make(Self.content("leaf"), by: middle)
        let long = try #require(Self.refusal([leaf, middle], CertificateTrust(anchors: [root.certificate])))
        #expect(long.reason == "path length constraint exceeded")
        var limited = Self.content("limited", authority: .unlimited)
        limited.extensions = [("nameConstraints", "critical,permitted;DNS:.inside.example")]
        let authority = try Self.make(limited)
        let trust = CertificateTrust(anchors: [authority.certificate])
        #expect(Self.refusal([try Self.make(Self.content("a.inside.example"), by: authority)], trust) == nil)
        let outside = try Self.make(Self.content("a.outside.example"), by: authority)
        #expect(try #require(Self.refusal([outside], trust)).reason == "permitted subtree violation")
    }

    @Test func aKeyThatMayNotSignProvesNothing() throws {
        let root = try Self.make(Self.content("root", authority: .unlimited))
        let trust = CertificateTrust(anchors: [root.certificate])
        // An authority's certificate is for signing certificates, not messages.
        let middle = try Self.make(Self.content("middle", authority: .unlimited), by: root)
        #expect(try #require(Self.refusal([middle], trust)).reason == "its key usage allows no signature")
    }

    @Test func changedOctetsAreNeverBelieved() throws {
        let root = try Self.make(Self.content("root", authority: .unlimited))
        let leaf = try Self.make(Self.content("leaf"), by: root)
        let trust = CertificateTrust(anchors: [root.certificate])
        let whole = leaf.certificate.encoded
        for index in whole.indices {
            var changed = whole
            changed[index] ^= 1 << UInt8(index % 8)
            let result = VerifiedCertificate.verify(peer: [changed], by: trust, at: Self.now)
            if case .success = result { Issue.record("octet \(index) may be changed") }
        }
        for count in stride(from: 0, to: whole.count, by: 7) {
            let result = VerifiedCertificate.verify(
                peer: [Array(whole.prefix(count))],
                by: trust,
                at: Self.now
            )
            if case .success = result { Issue.record("\(count) octets are enough") }
        }
    }
}
