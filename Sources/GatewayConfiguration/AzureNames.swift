/// Azure's names of algorithms, with ours where Azure has none, and strongSwan's word for each.
enum AzureNames {
    typealias Name = (name: String, word: String)

    static let combinedCiphers: [Name] = [
        ("GCMAES256", "aes256gcm16"), ("GCMAES192", "aes192gcm16"), ("GCMAES128", "aes128gcm16"),
        ("CHACHA20POLY1305", "chacha20poly1305"),
    ]
    static let ciphers: [Name] =
        combinedCiphers + [
            ("AES256", "aes256"), ("AES192", "aes192"), ("AES128", "aes128"), ("DES3", "3des"),
            ("DES", "des"),
        ]
    /// IPsec may do without encryption.
    static let ipsecCiphers: [Name] = ciphers + [("None", "null")]
    static let hashes: [Name] = [
        ("SHA512", "sha512"), ("SHA384", "sha384"), ("SHA256", "sha256"), ("SHA1", "sha1"), ("MD5", "md5"),
    ]
    /// For IPsec a combined-mode cipher is named as its own integrity.
    static let ipsecIntegrity: [Name] = combinedCiphers + hashes
    static let groups: [Name] = [
        ("ECP384", "ecp384"), ("ECP256", "ecp256"), ("ECP521", "ecp521"), ("Curve25519", "x25519"),
        ("DHGroup14", "modp2048"), ("DHGroup2048", "modp2048"), ("DHGroup15", "modp3072"),
        ("DHGroup16", "modp4096"), ("DHGroup19", "ecp256"), ("DHGroup20", "ecp384"), ("DHGroup21", "ecp521"),
        ("DHGroup31", "x25519"), ("DHGroup24", "modp2048s256"), ("DHGroup2", "modp1024"),
        ("DHGroup1", "modp768"),
    ]
    static let pfsGroups: [Name] =
        [("None", "modpnone"), ("PFS2048", "modp2048"), ("PFS14", "modp2048")]
        + [("PFS15", "modp3072"), ("PFS16", "modp4096"), ("PFS24", "modp2048s256"), ("PFS2", "modp1024")]
        + [("PFS1", "modp768")] + groups

    /// Names of Azure that are refused, with the reason.
    private static let refused: [String: String] = [
        "None": "it would leave IKE unprotected"
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
