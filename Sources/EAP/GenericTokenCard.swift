import Cryptography

/// Generic Token Card (RFC 3748 §5.6): the request is a prompt, which nobody reads here, the response the secret.
enum GenericTokenCard {
    static func response(_ password: SecretKey) -> [UInt8] { password.disclosed() }
}
