import Foundation
import Glibc
import Testing

@testable import LinuxIO

/// The service manager's end of the protocol.
private struct Manager {
    let socket: FileDescriptorOwner

    init(path: String) throws {
        let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        try #require(descriptor >= 0)
        socket = FileDescriptorOwner(owning: descriptor)
        var patience = timeval(tv_sec: 2, tv_usec: 0)
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, 16)
        var octets = Array(path.utf8)
        if octets.first == UInt8(ascii: "@") { octets[0] = 0 } else { octets.append(0) }
        // struct sockaddr_un: the family, then the path.
        let address = [UInt8(AF_UNIX), 0] + octets
        let result = unsafe address.withUnsafeBytes { bytes in
            unsafe bind(
                descriptor,
                bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                socklen_t(bytes.count)
            )
        }
        try #require(result == 0)
    }

    func next() -> String {
        var buffer = [UInt8](repeating: 0, count: 2048)
        let count = unsafe buffer.withUnsafeMutableBytes {
            unsafe recv(socket.descriptor, $0.baseAddress, $0.count, 0)
        }
        return count < 0 ? "nothing" : String(decoding: buffer.prefix(count), as: UTF8.self)
    }
}

@Suite struct SystemdNotifierTests {
    static let paths = [
        "/tmp/causeway-notify-\(getpid()).sock", "@causeway-notify-\(getpid())",
    ]

    @Test(arguments: paths) func speaksTheProtocol(path: String) throws {
        let manager = try Manager(path: path)
        defer { _ = unsafe unlink(path) }
        let notifier = SystemdNotifier { $0 == "NOTIFY_SOCKET" ? path : nil }
        let earlier = MonotonicClock.monotonicMicroseconds()
        try notifier.ready(status: "2 connections\nREADY=0")
        #expect(manager.next() == "READY=1\nSTATUS=2 connections READY=0")
        try notifier.status("busy")
        #expect(manager.next() == "STATUS=busy")
        try notifier.reloading()
        let lines = manager.next().split(separator: "\n")
        #expect(lines.first == "RELOADING=1")
        let time = lines.last.flatMap { UInt64($0.dropFirst("MONOTONIC_USEC=".count)) } ?? 0
        #expect((earlier...MonotonicClock.monotonicMicroseconds()).contains(time))
        try notifier.stopping()
        #expect(manager.next() == "STOPPING=1")
        try notifier.watchdog()
        #expect(manager.next() == "WATCHDOG=1")
    }

    @Test func doesNothingWithoutManager() throws {
        for path in [nil, "", "@", "relative"] as [String?] {
            let notifier = SystemdNotifier { $0 == "NOTIFY_SOCKET" ? path : nil }
            #expect(notifier.socketPath == nil)
            try notifier.ready()
        }
        let dead = SystemdNotifier { $0 == "NOTIFY_SOCKET" ? "/nowhere/notify" : nil }
        #expect(throws: LinuxError(operation: "notify the service manager", errno: ENOENT)) {
            try dead.ready()
        }
    }

    @Test func watchdogCountsForThisProcessOnly() {
        let interval = { (values: [String: String]) in SystemdNotifier { values[$0] }.watchdogInterval }
        #expect(interval(["WATCHDOG_USEC": "30000000"]) == .seconds(30))
        #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "\(getpid())"]) == .seconds(30))
        #expect(interval(["WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"]) == nil)
        #expect(interval(["WATCHDOG_USEC": "soon"]) == nil)
        #expect(interval(["WATCHDOG_USEC": "0"]) == nil)
        #expect(interval([:]) == nil)
    }
}
