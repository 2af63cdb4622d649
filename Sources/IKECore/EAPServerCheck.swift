import Cryptography
public import EAP
public import Policy

/// A step of EAP-TLS, with what the server's certificate must be.
///
/// It takes up to some milliseconds and belongs to a `ComputeJob`.
public struct EAPServerCheck: Sendable {
    let work: EAPWork
    let connection: ConnectionPolicy
    let identity: Identity?

    /// Gathers what is to be done.
    ///
    /// - Parameters:
    ///   - connection: whose trust is asked.
    ///   - identity: who the server must be; nil for anybody that the trust covers.
    public init(_ work: EAPWork, connection: ConnectionPolicy, identity: Identity?) {
        self.work = work
        self.connection = connection
        self.identity = identity
    }

    func run(at seconds: Int64, knowing knowledge: some RevocationKnowledge) -> TLSProgress {
        work.session.advance(work.input) { [connection, identity] chain in
            do throws(CredentialRefusal) {
                let certificate = try connection.believed(chain, as: identity, at: seconds)
                let missing = try connection.revocationInquiries(
                    certificate,
                    knowing: knowledge,
                    at: seconds
                )
                return missing.isEmpty ? .believed : .unknown(missing)
            } catch {
                return .refused(error.text, code: error.code)
            }
        }
    }

    /// The same without what the server sent, which OpenSSL has already.
    public func again() -> EAPServerCheck {
        EAPServerCheck(work.again(), connection: connection, identity: identity)
    }
}
