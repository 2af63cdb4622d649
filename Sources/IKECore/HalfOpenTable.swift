public import IPPackets
public import IPsecTypes
import Primitives

/// Bounds on IKE_SAs of peers that have not authenticated themselves yet.
public struct HalfOpenLimits: Hashable, Sendable {
    /// Per address, before it must return a cookie.
    public var perAddress: Int
    /// Per address that returned a cookie.
    public var perAddressWithCookie: Int
    /// In all, from which on everybody must return a cookie (RFC 7296 §2.6).
    public var cookieThreshold: Int
    /// In all; the oldest gives way to a newcomer.
    public var total: Int
    /// How long one may stay half-open.
    public var lifetime: Duration

    /// Makes limits; the defaults are those of strongSwan where it has them.
    public init(
        perAddress: Int = 5,
        perAddressWithCookie: Int = 1000,
        cookieThreshold: Int = 30,
        total: Int = 4096,
        lifetime: Duration = .seconds(30)
    ) {
        self.perAddress = perAddress
        self.perAddressWithCookie = perAddressWithCookie
        self.cookieThreshold = cookieThreshold
        self.total = total
        self.lifetime = lifetime
    }
}

/// The half-open IKE_SAs as responder: who has how many, and which is the oldest.
public struct HalfOpenTable: Sendable {
    private struct Key: Hashable {
        let initiatorSPI: UInt64
        let remote: Endpoint
    }

    private let limits: HalfOpenLimits
    private var bySource: [Key: IKESPI] = [:]
    private var keys: [IKESPI: Key] = [:]
    private var perAddress: [IPAddress: [IKESPI]] = [:]
    private var oldestFirst: [IKESPI] = []
    private var firstLive = 0

    /// An empty table.
    public init(limits: HalfOpenLimits) {
        self.limits = limits
    }

    /// Half-open IKE_SAs.
    public var count: Int { keys.count }

    /// What a new IKE_SA_INIT request may do.
    public enum Admission: Equatable, Sendable {
        /// Make state.
        case admit
        /// Make state, and drop this one for it.
        case admitReplacing(IKESPI)
        /// Answer with COOKIE and keep nothing.
        case requireCookie
    }

    /// Judges a request from `address`.
    public func admission(for address: IPAddress, hasCookie: Bool) -> Admission {
        let own = perAddress[Self.origin(address)] ?? []
        if !hasCookie, own.count >= limits.perAddress || count >= limits.cookieThreshold {
            return .requireCookie
        }
        if own.count >= limits.perAddressWithCookie, let oldest = own.first { return .admitReplacing(oldest) }
        if count >= limits.total, let oldest { return .admitReplacing(oldest) }
        return .admit
    }

    /// What counts as one address: whoever has an IPv6 address has at least a /64 of them.
    private static func origin(_ address: IPAddress) -> IPAddress {
        switch address {
        case .v4: address
        case .v6(let address): .v6(IPv6Address(high: address.high, low: 0))
        }
    }

    private var oldest: IKESPI? { oldestFirst[firstLive...].first { keys[$0] != nil } }

    /// The half-open IKE_SA that an IKE_SA_INIT request from `remote` belongs to, if it is a retransmission.
    public func existing(initiatorSPI: UInt64, remote: Endpoint) -> IKESPI? {
        bySource[Key(initiatorSPI: initiatorSPI, remote: remote)]
    }

    /// Notes a new one under our SPI.
    public mutating func insert(_ spi: IKESPI, initiatorSPI: UInt64, remote: Endpoint) {
        let key = Key(initiatorSPI: initiatorSPI, remote: remote)
        bySource[key] = spi
        keys[spi] = key
        perAddress[Self.origin(remote.address), default: []].append(spi)
        oldestFirst.append(spi)
    }

    /// Forgets one that was authenticated or dropped.
    public mutating func remove(_ spi: IKESPI) {
        guard let key = keys.removeValue(forKey: spi) else { return }
        bySource[key] = nil
        let address = Self.origin(key.remote.address)
        perAddress[address]?.removeAll { $0 == spi }
        if perAddress[address]?.isEmpty == true { perAddress[address] = nil }
        compact()
    }

    /// Drops dead entries from the front, and rebuilds the list when half of it is dead.
    private mutating func compact() {
        while firstLive < oldestFirst.count, keys[oldestFirst[firstLive]] == nil { firstLive += 1 }
        guard oldestFirst.count > 64, oldestFirst.count > 2 * keys.count else { return }
        oldestFirst = oldestFirst[firstLive...].filter { keys[$0] != nil }
        firstLive = 0
    }
}
