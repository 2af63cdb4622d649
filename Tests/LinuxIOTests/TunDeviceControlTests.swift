import Glibc
import Testing

@testable import LinuxIO

@Suite(.enabled(if: NamespaceThread.isRoot, "needs root: makes network namespaces"))
struct TunDeviceControlTests {
    @Test func persistentDeviceOutlivesItsDescriptorAndIsFoundAgain() throws {
        let (made, kept, again, devices, gone) = try NamespaceThread.run {
            let netlink = try Netlink()
            var made: LinkInfo?
            do {
                let prepared = try TunDeviceControl.prepare(name: "cw0", instance: "a", netlink: netlink)
                made = prepared.link
                // A second queue of the same device.
                let queue = try TunDeviceControl.open(name: "cw0")
                _ = queue.descriptor
            }
            let kept = try netlink.link(named: "cw0")
            let again = try TunDeviceControl.prepare(name: "cw0", instance: "a", netlink: netlink)
            let devices = try ["a", "b"].map {
                try TunDeviceControl.devices(netlink, instance: $0).map(\.name)
            }
            try netlink.deleteLinks(group: TunDeviceControl.linkGroup)
            try netlink.deleteLinks(group: TunDeviceControl.linkGroup)
            return (made, kept, again.link, devices, try netlink.link(named: "cw0"))
        }
        #expect(made?.alias == "causeway:a")
        #expect(made?.group == 0xca05e)
        #expect(kept == made && again == made)
        #expect(devices == [["cw0"], []])
        #expect(gone == nil)
    }

    @Test func deviceThatIsNotPersistentGoesWithItsDescriptor() throws {
        let (open, closed, cleared) = try NamespaceThread.run {
            let netlink = try Netlink()
            var open: LinkInfo?
            do {
                let device = try TunDeviceControl.open(name: "cw1")
                open = try netlink.link(named: "cw1")
                _ = device.descriptor
            }
            let closed = try netlink.link(named: "cw1")
            do {
                let device = try TunDeviceControl.open(name: "cw2")
                try TunDeviceControl.setPersistent(device, true)
                try TunDeviceControl.setPersistent(device, false)
            }
            return (open, closed, try netlink.link(named: "cw2"))
        }
        #expect(open?.kind == "tun")
        #expect(closed == nil && cleared == nil)
    }

    @Test func refusesTheDeviceOfSomebodyElse() throws {
        let (code, link) = try NamespaceThread.run {
            let netlink = try Netlink()
            let other = try TunDeviceControl.open(name: "cw0")
            var code: Int32 = 0
            do throws(LinuxError) {
                _ = try TunDeviceControl.prepare(name: "cw0", instance: "a", netlink: netlink)
            } catch {
                code = error.errno
            }
            _ = other.descriptor
            return (code, try netlink.link(named: "cw0"))
        }
        #expect(code == EEXIST)
        #expect(link?.alias == nil)
    }

    @Test func setsOffloadAndSendBuffer() throws {
        // TUN_F_CSUM, TSO4, TSO6.
        let options = TunDeviceControl.Options(offload: 7, sendBufferOctets: 1 << 20)
        let descriptor = try NamespaceThread.run {
            try TunDeviceControl.open(name: "cw0", options: options).descriptor
        }
        #expect(descriptor >= 0)
        #expect(options.flags == 0x5101)
    }

    @Test func refusesNamesThatTheKernelWouldRead() {
        for name in ["", "..", "a/b", "cw%d", "a b", "sixteen-octets-x", "a:1", "a\u{0}b"] {
            #expect(throws: LinuxError.self) { try TunDeviceControl.open(name: name) }
        }
    }
}
