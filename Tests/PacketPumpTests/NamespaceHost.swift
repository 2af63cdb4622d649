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

    init(port: UInt16, to remote: (UInt32, UInt16)? = nil, dontFragment: Bool = false) throws {
        descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        var address = Self.address(0, port)
        let bound = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe bind(descriptor, raw, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard bound == 0 else { throw NamespaceHost.Failure(text: "bind") }
        var timeout = timeval(tv_sec: 2, tv_usec: 0)
        unsafe setsockopt(
            descriptor,
            SOL_SOCKET,
            SO_RCVTIMEO,
            &timeout,
            socklen_t(MemoryLayout<timeval>.size)
        )
        if dontFragment {
            // IP_MTU_DISCOVER, IP_PMTUDISC_DO.
            var discover: Int32 = 2
            unsafe setsockopt(descriptor, 0, 10, &discover, 4)
        }
        guard let remote else { return }
        var peer = Self.address(remote.0, remote.1)
        let connected = unsafe withUnsafePointer(to: &peer) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                unsafe connect(descriptor, raw, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard connected == 0 else { throw NamespaceHost.Failure(text: "connect") }
    }

    deinit { close(descriptor) }

    private static func address(_ host: UInt32, _ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = host.bigEndian
        return address
    }

    @discardableResult
    func send(_ octets: [UInt8]) -> Int {
        unsafe octets.withUnsafeBytes { bytes in
            unsafe Glibc.send(descriptor, bytes.baseAddress, bytes.count, 0)
        }
    }

    /// The next datagram, or nil after two seconds.
    func receive() -> [UInt8]? {
        var octets = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe octets.withUnsafeMutableBytes { bytes in
            unsafe recv(descriptor, bytes.baseAddress, bytes.count, 0)
        }
        return count < 0 ? nil : Array(octets.prefix(count))
    }

    /// What the kernel believes of the path to the peer.
    var pathMTU: Int32 {
        var value: Int32 = 0
        var size = socklen_t(4)
        // IP_MTU.
        unsafe getsockopt(descriptor, 0, 14, &value, &size)
        return value
    }
}
