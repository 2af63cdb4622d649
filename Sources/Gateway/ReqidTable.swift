import IPsecTypes

/// The numbers that strongSwan calls reqid: CHILD_SAs that carry the same traffic share one, and a rekey keeps it.
///
/// Users tell the tunnels of a connection that many peers share apart by it.
struct ReqidTable: Sendable {
    private struct Traffic: Hashable {
        let local: [TrafficSelector]
        let remote: [TrafficSelector]
    }

    private var numbers: [Traffic: (number: UInt32, users: Int)] = [:]
    /// By CHILD_SA.
    private var traffic: [UInt32: Traffic] = [:]
    /// Numbers that were given back; the last is taken first.
    private var free: [UInt32] = []
    private var highest: UInt32 = 0

    /// The number of a CHILD_SA, or nil if it has none.
    subscript(child: UInt32) -> UInt32? { traffic[child].flatMap { numbers[$0]?.number } }

    /// Gives `child` the number of its traffic.
    mutating func assign(_ child: UInt32, local: [TrafficSelector], remote: [TrafficSelector]) {
        release(child)
        let key = Traffic(local: local, remote: remote)
        traffic[child] = key
        if let known = numbers[key] {
            numbers[key] = (known.number, known.users + 1)
        } else {
            numbers[key] = (takeNumber(), 1)
        }
    }

    /// Takes the number of a CHILD_SA that is gone back, unless another has it, too.
    mutating func release(_ child: UInt32) {
        guard let key = traffic.removeValue(forKey: child), let known = numbers[key] else { return }
        if known.users > 1 {
            numbers[key] = (known.number, known.users - 1)
        } else {
            numbers[key] = nil
            free.append(known.number)
        }
    }

    private mutating func takeNumber() -> UInt32 {
        if let number = free.popLast() { return number }
        // As many CHILD_SAs as this cannot be.
        highest &+= 1
        return highest
    }
}
