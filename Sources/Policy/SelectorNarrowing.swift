public import IPsecTypes

/// Narrowing of traffic selectors (RFC 7296 §2.9).
public enum SelectorNarrowing {
    /// The parts of `offered` that `policy` permits, without duplicates; empty when nothing is common.
    ///
    /// The peer's order is kept, so that its first selector, which may be the packet that triggered the
    /// negotiation, stays first.
    public static func narrow(_ offered: [TrafficSelector], to policy: [TrafficSelector]) -> [TrafficSelector]
    {
        var result = [TrafficSelector]()
        for theirs in offered {
            for mine in policy {
                guard let common = theirs.narrowed(to: mine) else { continue }
                if result.contains(where: { $0.contains(common) }) { continue }
                result.removeAll { common.contains($0) }
                result.append(common)
            }
        }
        return result
    }

    /// True when every selector of `answer` lies inside one of `offered`: a responder may only narrow.
    public static func isSubset(_ answer: [TrafficSelector], of offered: [TrafficSelector]) -> Bool {
        !answer.isEmpty && answer.allSatisfy { part in offered.contains { $0.contains(part) } }
    }
}
