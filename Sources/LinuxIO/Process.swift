import Glibc

/// The end of this process.
public enum Process {
    /// Ends the process at once with `status`.
    public static func exit(_ status: Int32) -> Never {
        Glibc.exit(status)
    }
}
