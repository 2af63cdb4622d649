/// strongSwan's proposal words for algorithms that the table of algorithms does not have, so that a proposal
/// with one of them is told apart from a misspelt one.
enum StrongSwanAlgorithms {
    static let words: Set<String> = {
        var words: Set<String> = [
            "cast128", "none", "sha256_96", "sha2_256_96", "camelliaxcbc", "prfcamelliaxcbc", "modpnull",
            "gost256", "gost512", "ntru112", "ntru128", "ntru192", "ntru256", "newhope128", "camellia",
        ]
        for cipher in ["blowfish", "serpent", "twofish"] {
            words.formUnion([cipher, cipher + "128", cipher + "192", cipher + "256"])
        }
        for bits in ["128", "192", "256"] {
            words.insert("camellia\(bits)ctr")
            for length in ["8", "64", "12", "96", "16", "128"] {
                words.insert("camellia\(bits)ccm\(length)")
            }
        }
        return words
    }()
}
