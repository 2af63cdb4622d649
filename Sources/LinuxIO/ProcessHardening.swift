import CLinux

/// Limits that the process sets itself before it holds a key.
public enum ProcessHardening {
    /// No core dumps, no ptrace by others, as many open files as allowed; the texts of what failed.
    public static func apply() -> [String] {
        let steps: [(String, () -> Int32)] = [
            ("make the process not dumpable", clinux_set_not_dumpable),
            ("set the core limit to zero", clinux_limit_core_to_zero),
            ("raise the limit of open files", clinux_raise_open_files),
        ]
        return steps.compactMap { operation, step in
            do throws(LinuxError) {
                try LinuxError.check(step(), operation)
                return nil
            } catch {
                return error.description
            }
        }
    }
}
