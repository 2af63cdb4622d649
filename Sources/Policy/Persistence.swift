/// When a tunnel is brought up.
public enum StartMode: String, Hashable, Sendable, CaseIterable {
    /// At once, and again whenever it goes down.
    case start
    /// When a packet wants through; the packet waits.
    case onDemand = "on-demand"
    /// Only by the peer.
    case passive
}

/// What is done with a tunnel at an occasion: when it is loaded, when the peer closed it, when the peer is dead.
public enum StartAction: Hashable, Sendable {
    /// Nothing: it is down until somebody asks for it.
    case none
    /// Wait for a packet that wants through.
    case trap
    /// Bring it up.
    case start
    /// Bring it up, and while it is down wait for packets.
    case trapAndStart

    /// True when it brings the tunnel up.
    public var starts: Bool { self == .start || self == .trapAndStart }

    /// True when packets that want through bring the tunnel up from then on.
    public var traps: Bool { self == .trap || self == .trapAndStart }

    /// The nearest word of gateway.yaml.
    public var mode: StartMode {
        switch self {
        case .none: .passive
        case .trap: .onDemand
        case .start, .trapAndStart: .start
        }
    }
}

/// What keeps a tunnel up.
public struct Persistence: Hashable, Sendable {
    /// When the configuration is loaded.
    public var onLoad: StartAction
    /// When the peer deleted it.
    public var onClose: StartAction
    /// When the peer stopped answering.
    public var onDead: StartAction
    /// An attempt that failed is repeated until one succeeds.
    public var triesForEver: Bool
    /// What was asked for stays so until somebody takes it back, as gateway.yaml has it; otherwise what is done after
    /// an end follows from its cause alone, as strongSwan has it.
    public var keepsWishes: Bool

    /// Makes one.
    public init(
        onLoad: StartAction,
        onClose: StartAction,
        onDead: StartAction,
        triesForEver: Bool,
        keepsWishes: Bool = false
    ) {
        self.onLoad = onLoad
        self.onClose = onClose
        self.onDead = onDead
        self.triesForEver = triesForEver
        self.keepsWishes = keepsWishes
    }

    /// What gateway.yaml means: a tunnel that shall be up is brought up again whatever ended it.
    public init(_ mode: StartMode) {
        let action: StartAction =
            switch mode {
            case .start: .trapAndStart
            case .onDemand: .trap
            case .passive: .none
            }
        self.init(onLoad: action, onClose: action, onDead: action, triesForEver: true, keepsWishes: true)
    }
}

/// What becomes of the older IKE_SAs of a peer, told by its identity, when it makes a new one.
public enum Uniqueness: Hashable, Sendable {
    /// They stay, unless the peer says INITIAL_CONTACT (RFC 7296 §2.4).
    case no
    /// They stay, whatever the peer says.
    case never
    /// They stay, and the new one is refused.
    case keep
    /// The new one replaces them.
    case replace
}
