/// How long an SA lives (RFC 7296 §2.8): we begin to replace it at its rekey time, and it ends at its hard
/// lifetime whatever became of that.
public struct SALifetime: Hashable, Sendable {
    /// Age at which its replacement begins; nil leaves that to the peer.
    public var rekey: Duration?
    /// The rekey comes up to this much earlier, by chance, so that two ends or a thousand tunnels do not begin at
    /// once.
    public var jitter: Duration
    /// Age at which it ends even without a replacement; nil is never.
    public var hard: Duration?

    /// Makes a lifetime.
    public init(rekey: Duration?, jitter: Duration, hard: Duration?) {
        self.rekey = rekey
        self.jitter = jitter
        self.hard = hard
    }

    /// A lifetime of which the last tenth is for the replacement, and the tenth before it is jitter.
    public init(total: Duration) {
        self.init(rekey: total * 9 / 10, jitter: total / 10, hard: total)
    }

    /// Eight hours, as Azure's gateways have it for an IKE_SA.
    public static let ikeDefault = SALifetime(total: .seconds(28_800))
    /// One hour for a CHILD_SA.
    public static let childDefault = SALifetime(total: .seconds(3_600))
    /// Without end.
    public static let unlimited = SALifetime(rekey: nil, jitter: .zero, hard: nil)
}
