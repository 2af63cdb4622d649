public import GatewayConfiguration
import LinuxIO

/// Reads gateway.yaml and the secrets it names from the file system, with the rules of `SecretFile`.
public struct SystemConfigurationFiles: ConfigurationFiles {
    /// Makes a source.
    public init() {}

    /// The text of a configuration file.
    public func text(_ path: String) throws -> String { try TextFile.read(path) }

    /// The octets of a secret that only its owner can read.
    public func secret(_ path: String) throws -> [UInt8] { try SecretFile.read(path) }
}
