/// Azure's names of algorithms, with ours where Azure has none, and strongSwan's word for each.
enum AzureNames {
    typealias Name = (name: String, word: String)

    static let combinedCiphers: [Name] = [
        ("GCMAES256", "aes256gcm16"), ("GCMAES192", "aes192gcm16"), ("GCMAES128", "aes128gcm16"),
        ("CHACHA20POLY1305", "chacha20poly1305"),
    ]
    static let ciphers: [Name] =
        combinedCiphers + [("AES256", "aes256"), ("AES192", "aes192"), ("AES128", "aes128")]
    static let hashes: [Name] = [
        ("SHA512", "sha512"), ("SHA384", "sha384"), ("SHA256", "sha256"), ("SHA1", "sha1"),
    ]
    /// For IPsec a combined-mode cipher is named as its own integrity.
    static let ipsecIntegrity: [Name] = combinedCiphers + hashes
    static let groups: [Name] = [
        ("ECP384", "ecp384"), ("ECP256", "ecp256"), ("ECP521", "ecp521"), ("Curve25519", "x25519"),
        ("DHGroup14", "modp2048"), ("DHGroup2048", "modp2048"), ("DHGroup15", "modp3072"),
        ("DHGroup16", "modp4096"), ("DHGroup19", "ecp256"), ("DHGroup20", "ecp384"), ("DHGroup21", "ecp521"),
        ("DHGroup31", "x25519"),
    ]
    static let pfsGroups: [Name] =
        [("None", "modpnone"), ("PFS2048", "modp2048"), ("PFS14", "modp2048")]
        + [("PFS15", "modp3072"), ("PFS16", "modp4096")] + groups

    /// Names of Azure that are refused, with the reason.
    private static let refused: [String: String] = [
        "DES3": "3DES has 64-bit blocks (RFC 8221 §5)", "DES": "DES is broken (RFC 8247 §2.1)",
        "MD5": "MD5 is broken (RFC 8247 §2.3)", "DHGroup1": "768 bits are too few (RFC 8247 §2.4)",
        "DHGroup2": "1024 bits are too few (RFC 8247 §2.4)", "PFS1": "768 bits are too few (RFC 8247 §2.4)",
        "PFS2": "1024 bits are too few (RFC 8247 §2.4)",
        "DHGroup24": "its subgroup is not trusted (RFC 8247 §2.4)",
        "PFS24": "its subgroup is not trusted (RFC 8247 §2.4)",
        "None": "it would leave the traffic unprotected",
    ]

    /// strongSwan's word for `text`; letters' case does not matter.
    static func word(_ text: String, among names: [Name]) throws(Refusal) -> String {
        let lower = text.lowercased()
        if let match = names.first(where: { $0.name.lowercased() == lower }) { return match.word }
        let accepted = names.map { $0.name }
        let list = "accepted: " + accepted.joined(separator: ", ")
        if let reason = refused.first(where: { $0.key.lowercased() == lower })?.value {
            throw Refusal("\(quoted(text)) is not supported, \(reason); \(list)")
        }
        let nearest = NearestWord.nearest(to: text, among: accepted).map { ", did you mean '\($0)'?" } ?? ""
        throw Refusal("unknown algorithm \(quoted(text))\(nearest); \(list)")
    }
}
