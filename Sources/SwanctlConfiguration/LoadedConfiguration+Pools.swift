public import IPPackets
public import Vici

/// A pool of virtual addresses that a vici client loaded, with what is told to those who get one.
public struct LoadedPool: Equatable, Sendable {
    /// A configuration attribute (RFC 7296 §3.15.1).
    public struct Attribute: Equatable, Sendable {
        /// Its type.
        public let type: UInt16
        /// Its value as on the wire.
        public let value: [UInt8]
    }

    /// Its name.
    public let name: String
    /// The first address that is given away.
    public let base: IPAddress
    /// How many addresses it has.
    public let size: UInt32
    /// What else the clients are told.
    public let attributes: [Attribute]

    /// Its section of the answer to `get-pools`, without leases.
    ///
    /// - Parameters:
    ///   - online: Addresses that are in use.
    ///   - offline: Addresses that are kept for a client that is away.
    public func listing(online: Int = 0, offline: Int = 0) -> ViciMessage {
        ViciMessage { section in
            section.set("base", base.description)
            section.set("size", size)
            section.set("online", online)
            section.set("offline", offline)
        }
    }
}

extension LoadedConfiguration {
    /// The pools in the order of their first loading.
    public var pools: [LoadedPool] { poolTable.values }

    /// Carries out `load-pool`: one section named as the pool, with `addrs` as a block or a range, and lists of
    /// attributes.
    public mutating func loadPool(_ message: ViciMessage) throws(LoadRefusal) {
        guard case let element? = message.elements.first, message.elements.count == 1,
            case .section(let section) = element.value
        else { throw LoadRefusal("parsing request failed") }
        try ConnectionOptions.check(name: element.name)
        let pool = try LoadedPool(parsing: section, name: element.name)
        guard poolTable[pool.name] != nil || poolTable.count < LoadLimits.pools else {
            throw .limit(LoadLimits.pools, "pools")
        }
        poolTable.set(pool.name, pool)
    }

    /// Carries out `unload-pool`.
    public mutating func unloadPool(_ name: String) throws(LoadRefusal) {
        guard poolTable.remove(name) != nil else { throw LoadRefusal("\(name) not found") }
    }
}

extension LoadedPool {
    fileprivate init(parsing section: ViciMessage, name: String) throws(LoadRefusal) {
        var addresses: PoolAddresses?
        var attributes: [Attribute] = []
        for element in section.elements {
            switch element.value {
            case .value(let value):
                guard element.name == "addrs" else { throw LoadRefusal("invalid attribute: \(element.name)") }
                guard addresses == nil else { throw LoadRefusal("multiple addrs defined") }
                guard let text = OptionText.word(value) else { throw LoadRefusal("invalid addrs value") }
                guard let parsed = PoolAddresses(text) else {
                    throw LoadRefusal("invalid addrs value: \(text)")
                }
                addresses = parsed
            case .list(let items):
                for item in items {
                    guard attributes.count < LoadLimits.poolAttributes else {
                        throw .limit(LoadLimits.poolAttributes, "attributes of a pool")
                    }
                    attributes.append(try PoolAttributes.attribute(element.name, item))
                }
            case .section:
                throw LoadRefusal("parsing request failed")
            }
        }
        guard let addresses else { throw LoadRefusal("missing addrs for pool '\(name)'") }
        self.name = name
        base = addresses.base
        size = addresses.size
        self.attributes = attributes
    }
}
