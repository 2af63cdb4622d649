import Cryptography
import IKEMessages
import IPPackets
import IPsecTypes
import Policy
import Primitives
import Testing

@testable import IKECore
@testable import IKEv2

/// Certificates by hash and URL (RFC 7296 §3.6).
@Suite struct CertificateURLTests {
    private static let base = "http://certs.test/"

    /// What is at some URLs.
    private struct Web: RevocationKnowledge {
        var octets: [String: [UInt8]] = [:]

        func answer(to inquiry: RevocationInquiry) -> RevocationKnowledgeAnswer? {
            guard case .certificate(let hash) = inquiry.subject, let found = octets[inquiry.uri] else {
                return nil
            }
            return (try? Digest.sha1([found])) == hash ? .octets(found) : .failed("another hash")
        }
    }

    private func policy(_ side: Side, _ own: CredentialStore.Own, url: Bool) -> ConnectionPolicy {
        let authority = CertificateAuthority.shared
        var policy = PolicyFixture(side).policy.signing(
            own,
            trusting: [authority.root, authority.intermediate]
        )
        if url { policy.credentials.urlBases[[]] = Self.base }
        return policy
    }

    /// What an initiator sends to a responder that fetches, and what that makes of it.
    private func sent(fetches: Bool) throws -> (
        payloads: [CERTPayload], own: CredentialStore.Own, pair: EnginePair
    ) {
        let authority = CertificateAuthority.shared
        let (a, b) = (
            try authority.issue(.p256, [.dns("a.test")]), try authority.issue(.p256, [.dns("b.test")])
        )
        var pair = EnginePair()
        pair.handle(.setPolicies([policy(.initiator, a, url: true)]), at: .initiator)
        pair.handle(.setPolicies([policy(.responder, b, url: fetches)]), at: .responder)
        pair.initiate()
        pair.run(for: .seconds(1))
        let request = pair[.initiator].messages.first { $0.isOutgoing && $0.header.exchange == .ikeAuth }
        return (request?.payloads.certificates ?? [], a, pair)
    }

    @Test func onlyWhereThePeerFetches() throws {
        let plain = try sent(fetches: false)
        #expect(plain.payloads.first?.data == plain.own.certificate.encoded)
        #expect(plain.pair[.responder].established.count == 1)
        let (payloads, own, _) = try sent(fetches: true)
        let hash = try Digest.sha1([own.certificate.encoded])
        #expect(payloads.first?.encoding == CertificateEncoding.hashAndURL)
        #expect(payloads.first?.data == hash + Array((Self.base + Hex.encode(hash)).utf8))
    }

    @Test func isFetchedOnceAndChecked() throws {
        let authority = CertificateAuthority.shared
        let own = try authority.issue(.p256, [.dns("a.test")])
        let der = own.certificate.encoded
        let url = Self.base + "a"
        let payload = CERTPayload(
            try Digest.sha1([der]) + Array(url.utf8),
            encoding: CertificateEncoding.hashAndURL
        )
        let accepts = { (text: String) in text.hasPrefix(Self.base) }
        let asked = CertificatesByURL([payload], knowing: Web(), isAccepted: accepts)
        #expect(asked.inquiries.map { $0.uri } == [url] && asked.certificates.isEmpty)
        let found = CertificatesByURL([payload], knowing: Web(octets: [url: der]), isAccepted: accepts)
        #expect(found.certificates == [CERTPayload(der)] && found.inquiries.isEmpty)
        let other = CertificatesByURL([payload], knowing: Web(octets: [url: [1, 2]]), isAccepted: accepts)
        #expect(other.certificates.isEmpty && other.inquiries.isEmpty && other.refusals.count == 1)
        // A stranger makes us fetch nothing from where he likes.
        for bad in [
            "http://169.254.169.254/latest", "file:///etc/passwd", "http://certs.test.evil/",
            "http://certs.test/\n",
        ] {
            let payload = CERTPayload(
                [UInt8](repeating: 1, count: 20) + Array(bad.utf8),
                encoding: CertificateEncoding.hashAndURL
            )
            let result = CertificatesByURL([payload], knowing: Web(), isAccepted: accepts)
            #expect(result.inquiries.isEmpty && result.refusals.count == 1, "\(bad)")
        }
    }

    /// A base without a slash behind the host names other hosts as well: it is none.
    @Test func aBaseNamesItsHost() {
        var store = CredentialStore.empty
        for (base, url, isAccepted) in [
            ("http://certs.test/", "http://certs.test/a", true),
            ("http://certs.test/x?h=", "http://certs.test/x?h=1", true),
            ("http://certs.test", "http://certs.test.evil/a", false),
            ("http://certs.test", "http://certs.test/a", false),
            ("http:///", "http:///a", false), ("https://certs.test/", "https://certs.test/a", false),
            ("", "http://certs.test/a", false),
        ] {
            store.urlBases = [[]: base]
            #expect(store.acceptsCertificates(at: url) == isAccepted, "\(base)")
        }
    }

    @Test func bundles() throws {
        let authority = CertificateAuthority.shared
        let der = [
            try authority.issue(.p256, [.dns("a.test")]).certificate.encoded, authority.intermediate.encoded,
        ]
        func tagged(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
            [tag, 0x82, UInt8(content.count >> 8), UInt8(content.count & 255)] + content
        }
        let list = tagged(0xa1, tagged(0x30, [1, 2, 3]))
        let bundle = tagged(0x30, tagged(0xa0, der[0]) + list + tagged(0xa0, der[1]))
        #expect(CertificateBundle.certificates(bundle) == der)
        for length in 0..<bundle.count {
            #expect(CertificateBundle.certificates(Array(bundle.prefix(length))).isEmpty)
        }
        var random = SeededEntropy(seed: 9)
        for _ in 0..<20_000 {
            var mutated = bundle
            let index = Int(random.nextUInt32()) % mutated.count
            mutated[index] = UInt8(truncatingIfNeeded: random.nextUInt32())
            _ = CertificateBundle.certificates(mutated)
        }
    }
}
