import Glibc
public import IPPackets

/// Why a name has no addresses.
public struct NameLookupError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The resolver's words.
    public let description: String

    /// Makes an error.
    public init(_ description: String) {
        self.description = description
    }
}

/// Asks the system's resolver.
public enum NameLookup {
    /// The addresses of `name` of both families, in the order of RFC 6724, each once.
    ///
    /// Blocks for as long as the resolver is configured to wait: never call it on a queue that others wait for.
    public static func addresses(of name: String) throws(NameLookupError) -> [IPAddress] {
        guard !name.isEmpty, !name.utf8.contains(0) else { throw NameLookupError("not a name") }
        var hints = unsafe addrinfo()
        unsafe hints.ai_family = AF_UNSPEC
        unsafe hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = unsafe getaddrinfo(name, nil, &hints, &list)
        guard status == 0 else {
            throw NameLookupError(reason(status, errno))
        }
        defer { unsafe freeaddrinfo(list) }
        var result = [IPAddress]()
        var next = unsafe list
        while let entry = unsafe next {
            if let address = unsafe address(entry.pointee), !result.contains(address) {
                result.append(address)
            }
            unsafe next = entry.pointee.ai_next
        }
        return result
    }

    private static func reason(_ status: Int32, _ code: Int32) -> String {
        if status == EAI_SYSTEM {
            guard let text = unsafe strerror(code) else { return "errno \(code)" }
            return unsafe String(cString: text)
        }
        guard let text = unsafe gai_strerror(status) else { return "error \(status)" }
        return unsafe String(cString: text)
    }

    private static func address(_ entry: addrinfo) -> IPAddress? {
        guard let pointer = unsafe entry.ai_addr else { return nil }
        let raw = unsafe UnsafeRawBufferPointer(start: pointer, count: Int(entry.ai_addrlen))
        // struct sockaddr_in: family, port, address; struct sockaddr_in6: family, port, flow, address.
        switch unsafe entry.ai_family {
        case AF_INET where raw.count >= 8: return unsafe IPAddress(octets: Array(raw[4..<8]))
        case AF_INET6 where raw.count >= 24: return unsafe IPAddress(octets: Array(raw[8..<24]))
        default: return nil
        }
    }
}
