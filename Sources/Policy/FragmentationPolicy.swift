/// Whether IKE messages travel in fragments of ours instead of IP's (RFC 7383).
public enum FragmentationPolicy: String, Hashable, Sendable, CaseIterable {
    /// Long messages are sent in fragments to a peer that supports it.
    case yes
    /// Fragments are received, but none are sent.
    case accept
    /// Not supported.
    case no
}
