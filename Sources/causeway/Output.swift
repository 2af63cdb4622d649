import Foundation

/// Prints a line on standard error.
func printError(_ line: String) {
    FileHandle.standardError.write(Data("causeway: \(line)\n".utf8))
}

/// Makes what was printed appear at once, also in a pipe.
func flushOutput() {
    fflush(nil)
}
