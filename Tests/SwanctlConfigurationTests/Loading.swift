import Policy
import Vici

@testable import SwanctlConfiguration

/// A connection `c` with the child `n`, good in itself, with `keys` in the connection and `childKeys` in the
/// child.
func connectionText(
    _ keys: String = "",
    child childKeys: String = "",
    local: String = "auth = psk",
    remote: String = ""
)
    -> String
{
    """
    connections {
      c {
        \(keys)
        local {
          \(local)
        }
        remote {
          \(remote.contains("auth =") ? "" : "auth = psk")
          \(remote)
        }
        children {
          n {
            \(childKeys)
          }
        }
      }
    }
    """
}

/// The one connection of `text`.
func load(_ text: String) throws(LoadRefusal) -> LoadedConnection {
    var configuration = LoadedConfiguration()
    for message in SwanctlFile(text).secrets { try configuration.loadShared(message) }
    for message in SwanctlFile(text).connections { try configuration.loadConnection(message) }
    guard let first = configuration.connections.first else { throw LoadRefusal("nothing loaded") }
    return first
}

/// What is said of `text`, or "loaded".
func outcome(_ text: String) -> String {
    do throws(LoadRefusal) {
        _ = try load(text)
        return "loaded"
    } catch {
        return error.description
    }
}
