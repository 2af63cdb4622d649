import Dispatch
import Foundation
import Glibc

@_silgen_name("unshare")
private func unshare(_ flags: Int32) -> Int32

@_silgen_name("gettid")
private func gettid() -> pid_t

/// A thread in a network namespace of its own, which goes with the thread and all descriptors made on it.
final class NamespaceHost: @unchecked Sendable {
    static let isRoot = geteuid() == 0

    struct Failure: Error { let text: String }

    // Handed over by the semaphores: one side at a time touches them.
    private var job: (() -> Void)?
    private var isDone = false
    private(set) var threadID: pid_t = 0
    private let wake = DispatchSemaphore(value: 0)
    private let finished = DispatchSemaphore(value: 0)

    init() throws {
        let thread = Thread { [self] in loop() }
        thread.start()
        finished.wait()
        guard threadID > 0 else { throw Failure(text: "unshare") }
    }

    private func loop() {
        // CLONE_NEWNET.
        if unshare(0x4000_0000) == 0 { threadID = gettid() }
        finished.signal()
        guard threadID > 0 else { return }
        while true {
            wake.wait()
            if isDone { break }
            job?()
            job = nil
            finished.signal()
        }
        finished.signal()
    }

    func run<Value>(_ body: () throws -> Value) throws -> Value {
        try withoutActuallyEscaping(body) { body in
            var result: Result<Value, any Error>?
            job = { result = Result { try body() } }
            wake.signal()
            finished.wait()
            guard let result else { throw Failure(text: "no result") }
            return try result.get()
        }
    }

    func shell(_ command: String) throws {
        try run {
            guard unsafe system(command) == 0 else { throw Failure(text: command) }
        }
    }

    /// Waits until the kernel has noticed that all links are up, which it does at most once a second, and has
    /// routes to its own addresses: until then it drops what is sent and what comes.
    func waitForLinks() throws {
        try shell(
            """
            for i in $(seq 250); do
              if ! ip -o link | grep -q 'qdisc noop \\|NO-CARRIER\\|state DOWN' \
                  && ! ip -6 -o addr | grep -q tentative \
                  && [ "$(ip -6 -o addr show scope global | wc -l)" \
                      -le "$(ip -6 route show table local | grep -c '^local fd')" ]; then exit 0; fi
              sleep 0.02
            done
            ip link; ip -6 addr; exit 1
            """
        )
    }

    func end() {
        isDone = true
        wake.signal()
        finished.wait()
    }
}

/// Collects what handlers report, and waits for what is looked for.
final class Inbox<Element: Sendable>: @unchecked Sendable {
    private var elements = [Element]()
    private let condition = NSCondition()

    func add(_ element: Element) {
        condition.lock()
        elements.append(element)
        condition.broadcast()
        condition.unlock()
    }

    var all: [Element] {
        condition.lock()
        defer { condition.unlock() }
        return elements
    }

    /// The first element that `matches`, waiting up to `seconds` for it.
    func first(within seconds: Double = 3, where matches: (Element) -> Bool) -> Element? {
        let deadline = Date(timeIntervalSinceNow: seconds)
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let found = elements.first(where: matches) { return found }
            guard condition.wait(until: deadline) else { return elements.first(where: matches) }
        }
    }
}

/// A plain UDP socket of the test, made in the namespace of the calling thread.
final class TestSocket: Sendable {
    let descriptor: Int32
    private let isIPv6: Bool

    init(
        port: UInt16,
        isIPv6: Bool = false,
        to remote: (UInt32, UInt16)? = nil,
        to6 remote6: ([UInt8], UInt16)? = nil,
        dontFragment: Bool = false
    ) throws {
        self.isIPv6 = isIPv6 || remote6 != nil
        descriptor = socket(
            self.isIPv6 ? AF_INET6 : AF_INET,
            Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue),
            0
        )
        // IPV6_V6ONLY: the same port may be in use for IPv4.
        if self.isIPv6 { set(26, 1) }
        guard unsafe call(bind, self.isIPv6 ? Self.address6([], port) : Self.address4(0, port)) else {
            throw NamespaceHost.Failure(text: "bind")
        }
        var timeout = timeval(tv_sec: 5, tv_usec: 0)
        unsafe setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &timeout,
            socklen_t(MemoryLayout<timeval>.size)
        )
        // IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: IP_PMTUDISC_DO, or 0 to cut what is too large.
        if dontFragment { set(self.isIPv6 ? 23 : 10, 2) } else if !self.isIPv6 { set(10, 0) }
        // IP_RECVTOS, IPV6_RECVTCLASS.
        set(self.isIPv6 ? 66 : 13, 1)
        let target = remote6.map { Self.address6($0.0, $0.1) } ?? remote.map { Self.address4($0.0, $0.1) }
        guard let target else { return }
        guard unsafe call(connect, target) else { throw NamespaceHost.Failure(text: "connect") }
    }

    deinit { close(descriptor) }

    private var level: Int32 { isIPv6 ? 41 : 0 }

    private func set(_ name: Int32, _ value: Int32) {
        var value = value
        unsafe setsockopt(descriptor, level, name, &value, 4)
    }

    /// Sets DF and sends what the device takes, whatever the kernel believes of the path: IP_PMTUDISC_PROBE.
    func ignorePathMTU() { set(isIPv6 ? 23 : 10, 3) }

    /// The TOS or traffic class of what is sent from now on.
    func setTrafficClass(_ value: UInt8) { set(isIPv6 ? 67 : 1, Int32(value)) }

    private func call(
        _ function: (Int32, UnsafePointer<sockaddr>?, socklen_t) -> Int32,
        _ address: [UInt8]
    ) -> Bool {
        unsafe address.withUnsafeBytes { bytes in
            unsafe function(
                descriptor,
                bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                socklen_t(bytes.count)
            ) == 0
        }
    }

    private static func big(_ port: UInt16) -> [UInt8] { [UInt8(port >> 8), UInt8(port & 255)] }

    private static func address4(_ host: UInt32, _ port: UInt16) -> [UInt8] {
        let octets = [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: host >> UInt32($0)) }
        return [UInt8(AF_INET), 0] + big(port) + octets + [UInt8](repeating: 0, count: 8)
    }

    private static func address6(_ host: [UInt8], _ port: UInt16) -> [UInt8] {
        let octets = host.isEmpty ? [UInt8](repeating: 0, count: 16) : host
        return [UInt8(AF_INET6), 0] + big(port) + [0, 0, 0, 0] + octets + [0, 0, 0, 0]
    }

    @discardableResult
    func send(_ octets: [UInt8]) -> Int {
        unsafe octets.withUnsafeBytes { bytes in
            unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, 0)
        }
    }

    /// Sends datagrams of `segment` octets as one message, which the network may never take apart.
    func send(_ octets: [UInt8], segment: Int32) -> Int {
        var segment = segment
        // SOL_UDP, UDP_SEGMENT.
        unsafe setsockopt(descriptor, 17, 103, &segment, 4)
        defer {
            segment = 0
            unsafe setsockopt(descriptor, 17, 103, &segment, 4)
        }
        return send(octets)
    }

    /// The next datagram, or nil after five seconds.
    func receive() -> [UInt8]? { receiveMarked()?.octets }

    /// The next datagram with its TOS or traffic class.
    func receiveMarked() -> (octets: [UInt8], trafficClass: UInt8)? {
        var octets = [UInt8](repeating: 0, count: 65_536)
        var control = [UInt8](repeating: 0, count: 64)
        let count = unsafe octets.withUnsafeMutableBytes { data in
            unsafe control.withUnsafeMutableBytes { control in
                var vector = unsafe iovec(iov_base: data.baseAddress, iov_len: data.count)
                return unsafe withUnsafeMutablePointer(to: &vector) { vector in
                    var message = unsafe msghdr()
                    unsafe message.msg_iov = vector
                    unsafe message.msg_iovlen = 1
                    unsafe message.msg_control = control.baseAddress
                    unsafe message.msg_controllen = control.count
                    return unsafe recvmsg(descriptor, &message, 0)
                }
            }
        }
        // The only control message: its data starts after a header of 16 octets.
        return count < 0 ? nil : (Array(octets.prefix(count)), control[16])
    }

    /// What the kernel believes of the path to the peer.
    var pathMTU: Int32 {
        var value: Int32 = 0
        var size = socklen_t(4)
        // IP_MTU, IPV6_MTU.
        unsafe getsockopt(descriptor, level, isIPv6 ? 24 : 14, &value, &size)
        return value
    }
}
