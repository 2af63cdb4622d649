/// Names of IP protocols and of services, as `/etc/protocols` and `/etc/services` have them.
///
/// The tables are here, not read from the system, so that a configuration means the same on every machine.
enum ProtocolNames {
    /// The number of an IP protocol.
    static func number(protocol name: String) -> UInt8? { protocols[name.lowercased()] }

    /// The port of a service.
    static func port(service name: String) -> UInt16? { services[name.lowercased()] }

    private static let protocols: [String: UInt8] = [
        "ip": 0, "icmp": 1, "igmp": 2, "ggp": 3, "ipencap": 4, "st": 5, "tcp": 6, "egp": 8, "igp": 9,
        "pup": 12, "udp": 17, "hmp": 20, "xns-idp": 22, "rdp": 27, "iso-tp4": 29, "dccp": 33, "xtp": 36,
        "ddp": 37, "idpr-cmtp": 38, "ipv6": 41, "ipv6-route": 43, "ipv6-frag": 44, "idrp": 45, "rsvp": 46,
        "gre": 47, "esp": 50, "ipsec-esp": 50, "ah": 51, "ipsec-ah": 51, "skip": 57, "ipv6-icmp": 58,
        "icmpv6": 58, "icmp6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "rspf": 73, "vmtp": 81, "eigrp": 88,
        "ospf": 89, "ospfigp": 89, "ax.25": 93, "ipip": 94, "etherip": 97, "encap": 98, "pim": 103,
        "ipcomp": 108, "vrrp": 112, "l2tp": 115, "isis": 124, "sctp": 132, "fc": 133,
        "mobility-header": 135, "udplite": 136, "mpls-in-ip": 137, "manet": 138, "hip": 139, "shim6": 140,
        "wesp": 141, "rohc": 142, "ethernet": 143,
    ]

    private static let services: [String: UInt16] = [
        "echo": 7, "discard": 9, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25,
        "mail": 25, "time": 37, "whois": 43, "tacacs": 49, "domain": 53, "bootps": 67, "bootpc": 68,
        "tftp": 69, "gopher": 70, "finger": 79, "http": 80, "www": 80, "kerberos": 88, "pop3": 110,
        "sunrpc": 111, "nntp": 119, "ntp": 123, "epmap": 135, "netbios-ns": 137, "netbios-dgm": 138,
        "netbios-ssn": 139, "imap2": 143, "imap": 143, "snmp": 161, "snmp-trap": 162, "bgp": 179,
        "ldap": 389, "https": 443, "microsoft-ds": 445, "kpasswd": 464, "submissions": 465, "isakmp": 500,
        "ipsec": 500, "rtsp": 554, "syslog": 514, "route": 520, "dhcpv6-client": 546, "dhcpv6-server": 547,
        "submission": 587, "ipp": 631, "ldaps": 636, "domain-s": 853, "rsync": 873, "imaps": 993,
        "pop3s": 995, "socks": 1080, "openvpn": 1194, "ms-sql-s": 1433, "l2tp": 1701, "l2f": 1701,
        "radius": 1812, "radius-acct": 1813, "nfs": 2049, "mysql": 3306, "ms-wbt-server": 3389,
        "ipsec-nat-t": 4500, "iax": 4569, "sip": 5060, "sip-tls": 5061, "xmpp-client": 5222,
        "postgresql": 5432, "amqp": 5672, "x11": 6000, "http-alt": 8080, "zabbix-agent": 10050,
        "zabbix-trapper": 10051,
    ]
}
