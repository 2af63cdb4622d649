import Cryptography
public import Vici

extension LoadedConfiguration {
    /// The identifiers of shared secrets of all types: the answer to `get-shared`.
    public var sharedIdentifiers: [String] { secrets.identifiers }

    /// Carries out `load-shared`: `id`, `type` (ike, eap, xauth, ntlm or ppk), `data`, and the list `owners`.
    ///
    /// Without owners the secret is for anybody.
    public mutating func loadShared(_ message: ViciMessage) throws(LoadRefusal) {
        var message = message
        try loadShared(wiping: &message)
    }

    /// The same; the message has no `data` afterwards, and its octets are zeros if nobody else holds it.
    public mutating func loadShared(wiping message: inout ViciMessage) throws(LoadRefusal) {
        guard let type = message.string("type") else { throw LoadRefusal("shared key type missing") }
        let purpose: LoadedSecret.Purpose
        switch type.lowercased() {
        case "ike": purpose = .ike
        case "eap", "xauth": purpose = .eap
        case "ntlm": purpose = .ntlm
        case "ppk": purpose = .ppk
        default: throw LoadRefusal("invalid shared key type: \(type)")
        }
        guard var data = message.take("data"), !data.isEmpty else {
            throw LoadRefusal("shared key data missing")
        }
        guard data.count <= LoadLimits.secretOctets else {
            throw .limit(LoadLimits.secretOctets, "octets of a secret")
        }
        let owners = try Self.owners(message)
        var identifier: String?
        if let octets = message.octets("id") {
            guard let text = OptionText.word(octets), text.utf8.count <= LoadLimits.nameOctets else {
                throw LoadRefusal("invalid shared key id")
            }
            identifier = text
        }
        let key: SecretKey
        do throws(CryptoError) {
            key = try SecretKey(wiping: &data)
        } catch {
            throw LoadRefusal("no memory for the shared key")
        }
        try secrets.add(LoadedSecret(purpose: purpose, owners: owners, key: key), identifier: identifier)
    }

    private static func owners(_ message: ViciMessage) throws(LoadRefusal) -> [IdentityOption] {
        let items = message.items("owners") ?? []
        guard items.count <= LoadLimits.owners else { throw .limit(LoadLimits.owners, "owners") }
        var owners: [IdentityOption] = []
        for item in items {
            guard item.count < 256, let owner = IdentityOption(item) else {
                throw LoadRefusal("parsing shared key owners failed")
            }
            owners.append(owner)
        }
        return owners
    }

    /// Carries out `unload-shared`; as in charon, one that is not there is no error.
    public mutating func unloadShared(_ id: String) throws(LoadRefusal) {
        secrets.remove(id)
    }
}

extension ViciMessage {
    /// The octets under `name`, which stand there no longer: so they have one owner, who can wipe them.
    mutating func take(_ name: String) -> [UInt8]? {
        guard let index = elements.firstIndex(where: { $0.name == name }),
            case .value(let octets) = elements[index].value
        else { return nil }
        elements[index].value = .value([])
        return octets
    }
}
