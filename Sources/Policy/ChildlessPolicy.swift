/// Whether an IKE_SA may be made without a CHILD_SA (RFC 6023); strongSwan's words.
public enum ChildlessPolicy: String, Hashable, Sendable, CaseIterable {
    /// As responder, if the peer wants it.
    case allow
    /// As initiator too, if the peer supports it.
    case prefer
    /// Not at all.
    case never
    /// No other way.
    case force

    /// What an initiator does with a peer that supports it or not; nil is to give up.
    public func initiates(isSupported: Bool) -> Bool? {
        switch self {
        case .allow, .never: false
        case .prefer: isSupported
        case .force: isSupported ? true : nil
        }
    }

    /// Whether a responder takes an IKE_AUTH request with a CHILD_SA, or one without.
    public func accepts(hasChild: Bool) -> Bool {
        switch self {
        case .allow, .prefer: true
        case .never: hasChild
        case .force: !hasChild
        }
    }
}
