import Testing

@testable import LinuxIO

@Suite struct ServiceNamesTests {
    @Test func takesTheFirstNameOfEachPort() {
        let names = ServiceNames.parse(
            """
            # comment
            ssh\t\t22/tcp\t\t# SSH Remote Login
            domain 53/tcp
            domain 53/udp
            www 80/tcp http
            other 80/tcp
            bad 99999/tcp
            worse x/y/z
            sctp 5/sctp
            lonely
            """
        )
        #expect(names[0x6_0016] == "ssh")
        #expect(names[0x6_0035] == "domain" && names[0x11_0035] == "domain")
        #expect(names[0x6_0050] == "www" && names.count == 4)
    }
}
