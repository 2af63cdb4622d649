/// strongSwan's proposal words for algorithms that the table of algorithms does not have, so that a proposal
/// with one of them is told apart from a misspelt one.
enum StrongSwanAlgorithms {
    static let words: Set<String> = {
        var words: Set<String> = [
            "3des", "des", "null", "cast128", "none", "sha1_160", "sha256_96", "sha2_256_96", "md5_128",
            "camelliaxcbc", "prfcamelliaxcbc", "modpnull", "modp1024s160", "modp2048s224", "modp2048s256",
            "ecp192", "ecp224", "ecp224bp", "ecp256bp", "ecp384bp", "ecp512bp", "curve448", "x448", "gost256",
            "gost512", "mlkem512", "mlkem768", "mlkem1024", "ntru112", "ntru128", "ntru192", "ntru256",
            "newhope128", "modp768", "modp1024", "modp1536", "modp6144", "modp8192",
        ]
        for cipher in ["blowfish", "serpent", "twofish", "camellia"] {
            words.formUnion([cipher, cipher + "128", cipher + "192", cipher + "256"])
        }
        for bits in ["128", "192", "256"] {
            words.insert("camellia\(bits)ctr")
            for length in ["8", "64", "12", "96", "16", "128"] {
                words.formUnion(["aes\(bits)ccm\(length)", "camellia\(bits)ccm\(length)"])
                words.insert("aes\(bits)gcm\(length)")
            }
            words.formUnion(["aes\(bits)ccm", "aes\(bits)ctr", "aes\(bits)gmac"])
        }
        return words
    }()
}
