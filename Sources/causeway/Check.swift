import ArgumentParser
import GatewayConfiguration
import LinuxIO
import Vici

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Checks a configuration file and explains what is wrong with it."
    )

    @Flag(help: "Print one JSON object.")
    var json = false

    @Argument(help: "The file.")
    var file = "/etc/causeway/gateway.yaml"

    func run() throws {
        let findings = checkConfiguration(path: file)
        if json {
            print(
                ViciJSON.object([
                    ("errors", ViciJSON.array(findings.errors)),
                    ("warnings", ViciJSON.array(findings.warnings)),
                ])
            )
        } else {
            for error in findings.errors { print(StatusReport.printable(error)) }
            for warning in findings.warnings { print("warning: " + StatusReport.printable(warning)) }
            if findings.errors.isEmpty { print("\(file): correct") }
        }
        if !findings.errors.isEmpty { throw ExitCode(1) }
    }
}

/// What a check found, each as `file:line:column: message`.
struct ConfigurationFindings {
    var errors: [String] = []
    var warnings: [String] = []
}

/// Loads the file at `path`: the one place here that knows the loader.
func checkConfiguration(path: String) -> ConfigurationFindings {
    do throws(ConfigurationErrors) {
        let gateway = try GatewayConfigurationFile.load(path: path, files: LocalFiles())
        return ConfigurationFindings(warnings: gateway.warnings.map(\.description))
    } catch {
        return ConfigurationFindings(errors: error.diagnostics.map(\.description))
    }
}

/// Reads the configuration and its secrets by the rules that the daemon has.
struct LocalFiles: ConfigurationFiles {
    func text(_ path: String) throws -> String { try TextFile.read(path) }

    func secret(_ path: String) throws -> [UInt8] { try SecretFile.read(path) }
}
