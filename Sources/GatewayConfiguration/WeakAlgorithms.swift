import IPsecTypes

/// Tells of each weak algorithm that a connection or a policy names: they are taken there and nowhere else.
enum WeakAlgorithms {
    static func warn(
        of proposal: Proposal,
        at position: SourcePosition,
        _ path: String,
        _ sink: DiagnosticSink
    ) {
        for transform in proposal.transforms {
            guard let weakness = transform.weakness else { continue }
            sink.warning(position, path, "\(transform) is weak: \(weakness)")
        }
    }
}
