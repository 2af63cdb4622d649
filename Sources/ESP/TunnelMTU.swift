public import Cryptography
public import IPsecTypes

/// How large inner packets may be.
public enum TunnelMTU {
    /// The largest inner packet whose ESP packet fits a path of `path` octets.
    public static func innerMTU(
        path: Int,
        outerIsIPv6: Bool,
        encapsulation: Encapsulation,
        transform: CipherTransform
    ) -> Int {
        let udp =
            switch encapsulation {
            case .udp: 8
            case .none: 0
            }
        let outer = (outerIsIPv6 ? 40 : 20) + udp + 8 + transform.ivLength + transform.icvLength
        let room = max(0, path - outer)
        return max(0, room / transform.blockLength * transform.blockLength - 2)
    }
}
