import Cryptography
import GatewayConfiguration
import IPsecTypes
import PacketPump
import Vici

/// What the data plane is made of on this machine.
extension ControlPlane {
    /// How the data plane is to be opened.
    func pumpConfiguration() -> PumpConfiguration {
        PumpConfiguration(
            tunName: description.interfaceName,
            natTraversalPort: description.natTraversalPort,
            ikePort: description.ikePort,
            mark: description.mark,
            workers: description.workers,
            innerMTU: description.innerMTU,
            offloads: Offloads.all.subtracting(Offloads(names: description.disabledOffloads))
        )
    }

    /// What it found on this machine: offloads, and which library protects packets.
    func dataPlaneStatus() -> ViciMessage {
        ViciMessage { message in
            message.set("workers", pumpWorkers)
            message.section("offloads") { section in
                for (name, offload) in Offloads.names {
                    section.set(name, pumpOffloads.contains(offload) ? "yes" : "no")
                }
            }
            message.set("ipsec-mb", MultiBuffer.state.description)
            guard pumpOffloads.contains(.multiBuffer) else { return }
            message.section("ciphers") { section in
                for choice in PacketBackends.choices {
                    section.set(choice.transform.name, choice.description)
                }
            }
        }
    }
}
