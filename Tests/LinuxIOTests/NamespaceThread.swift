import Dispatch
import Foundation
import Glibc

@_silgen_name("unshare")
private func unshare(_ flags: Int32) -> Int32

/// Runs code in a network namespace of its own, on a thread that ends with it: a namespace belongs to a
/// thread, and the kernel removes it with all its links when nothing uses it any more.
enum NamespaceThread {
    /// What these tests need; they are skipped without.
    static let isRoot = geteuid() == 0
    static let hasNft = unsafe isRoot && access("/usr/sbin/nft", X_OK) == 0

    struct Refused: Error { let errno: Int32 }

    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) throws -> Value {
        let done = DispatchSemaphore(value: 0)
        let outcome = Outcome<Value>()
        let thread = Thread {
            outcome.set(
                Result {
                    // CLONE_NEWNET.
                    guard unshare(0x4000_0000) == 0 else { throw Refused(errno: errno) }
                    return try body()
                }
            )
            done.signal()
        }
        thread.start()
        done.wait()
        return try outcome.get()
    }

    /// Written before the semaphore is signalled and read after: never at once.
    private final class Outcome<Value>: @unchecked Sendable {
        private var result: Result<Value, any Error>?
        func set(_ value: Result<Value, any Error>) { result = value }
        func get() throws -> Value {
            guard let result else { throw Refused(errno: 0) }
            return try result.get()
        }
    }
}

/// Collects what handlers report, and waits for it.
final class Inbox<Element: Sendable>: @unchecked Sendable {
    // Guarded by the lock.
    private var elements = [Element]()
    private let lock = NSLock()
    private let arrival = DispatchSemaphore(value: 0)

    func add(_ element: Element) {
        lock.withLock { elements.append(element) }
        arrival.signal()
    }

    var all: [Element] { lock.withLock { elements } }

    /// True when another element came within `seconds`.
    func wait(_ seconds: Double = 3) -> Bool {
        arrival.wait(timeout: .now() + seconds) == .success
    }
}
