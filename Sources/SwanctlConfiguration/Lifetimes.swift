import IPsecTypes
import Policy

/// strongSwan's defaults for how long SAs live, and how each time and volume follows from the others.
enum Lifetimes {
    /// Four hours.
    static let ikeRekey: UInt64 = 4 * 3_600
    /// One hour.
    static let childRekey: UInt64 = 3_600
    /// Longer than any machine runs; it keeps instants from overflowing.
    private static let longest: UInt64 = 10 * 365 * 86_400

    /// An IKE_SA's, in seconds; 0 is never.
    struct IKE: Equatable {
        var rekey: UInt64
        var reauth: UInt64
        var over: UInt64
        var rand: UInt64

        init(_ options: ConnectionOptions) {
            // A reauthentication time switches rekeying off unless that is asked for as well.
            rekey = options.rekeyTime ?? (options.reauthTime == nil ? Lifetimes.ikeRekey : 0)
            reauth = options.reauthTime ?? 0
            over = options.overTime ?? max(rekey, reauth) / 10
            let base = rekey > 0 && reauth > 0 ? min(rekey, reauth) : max(rekey, reauth)
            rand = options.randTime ?? min(over, base / 2)
        }

        /// The policy's: the hard end comes `over` after the first of rekey and reauthentication.
        var policy: SALifetime {
            let first = [rekey, reauth].filter { $0 > 0 }.min()
            return SALifetime(
                rekey: Lifetimes.duration(rekey),
                jitter: .seconds(Int64(min(rand, first ?? 0, Lifetimes.longest))),
                hard: first.flatMap { Lifetimes.duration(Lifetimes.sum($0, over)) }
            )
        }

        var reauthentication: Duration? { Lifetimes.duration(reauth) }
    }

    /// One measure of a CHILD_SA's life: seconds, octets or packets; 0 is never.
    struct Child: Equatable {
        var rekey: UInt64
        var life: UInt64
        var rand: UInt64

        init(rekey: UInt64?, life: UInt64?, rand: UInt64?, standard: UInt64) {
            self.rekey = rekey ?? life.map { Lifetimes.tenElevenths($0) } ?? standard
            self.life = life ?? Lifetimes.sum(self.rekey, self.rekey / 10)
            self.rand = rand ?? self.life - min(self.life, self.rekey)
        }
    }

    /// A CHILD_SA's three measures.
    struct Volumes {
        let time: Child
        let octets: Child
        let packets: Child

        init(_ options: ChildOptions) {
            time = Child(
                rekey: options.rekeyTime,
                life: options.lifeTime,
                rand: options.randTime,
                standard: Lifetimes.childRekey
            )
            octets = Child(
                rekey: options.rekeyBytes,
                life: options.lifeBytes,
                rand: options.randBytes,
                standard: 0
            )
            packets = Child(
                rekey: options.rekeyPackets,
                life: options.lifePackets,
                rand: options.randPackets,
                standard: 0
            )
        }

        var lifetime: SALifetime {
            SALifetime(
                rekey: Lifetimes.duration(time.rekey),
                jitter: .seconds(Int64(min(time.rand, time.rekey, Lifetimes.longest))),
                hard: Lifetimes.duration(time.life)
            )
        }

        /// Where the replacement begins.
        ///
        /// `rand` is how much earlier a rekey may come; by volume ours comes at the whole: two peers hardly count
        /// the same.
        var rekeyVolume: SAVolume {
            SAVolume(octets: Lifetimes.volume(octets.rekey), packets: Lifetimes.volume(packets.rekey))
        }

        var limit: SAVolume {
            SAVolume(octets: Lifetimes.volume(octets.life), packets: Lifetimes.volume(packets.life))
        }
    }

    static func duration(_ seconds: UInt64) -> Duration? {
        seconds == 0 ? nil : .seconds(Int64(min(seconds, longest)))
    }

    private static func volume(_ number: UInt64) -> UInt64? { number == 0 ? nil : number }

    static func sum(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let (sum, overflows) = left.addingReportingOverflow(right)
        return overflows ? .max : sum
    }

    /// 1 / 1.1 without a product that could overflow.
    private static func tenElevenths(_ number: UInt64) -> UInt64 {
        number / 11 * 10 + number % 11 * 10 / 11
    }
}
