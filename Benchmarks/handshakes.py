#!/usr/bin/env python3
"""Handshakes a second of a responder, causewayd and strongSwan's charon in turn: writes results/handshakes.md.

  handshakes.py [--peers 200] [--rounds 5]

The initiator is a causewayd that sets up so many IKE_SAs with a CHILD_SA each as fast as the responder lets it; both share the
machine's cores, so the responder's own CPU seconds a handshake stand beside.  Needs root and what the interop tests need.
"""
import argparse
import os
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
sys.path.insert(0, str(PROJECT / "Tests/Interop"))
TICK = os.sysconf("SC_CLK_TCK")


def cpu(gateway):
    """CPU seconds of a daemon so far."""
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure(kind, responder, peers):
    """(handshakes a second, the responder's CPU milliseconds for one)."""
    from certificates import Authority, CertifiedSwan, chain
    from gateways import Causewayd, Spec, StrongSwan
    from lab import Lab, wait_until
    from scene import Scene
    from vici_cases import established
    from vici_client import Client

    class Charon(CertifiedSwan if kind == "certificates" else StrongSwan):
        PLUGINS = StrongSwan.PLUGINS

        def write(self):
            super().write()
            path = self.dir / "strongswan.conf"
            # as many IKE_SAs from one address as there are, without a word per packet in the log
            path.write_text(path.read_text().replace("charon {", "charon {\n  dos_protection = no", 1).replace("default = 1", "default = -1")
                            .replace("cfg = 2", "cfg = -1"))
            path = self.dir / "swanctl.conf"
            path.write_text(path.read_text().replace("    version = 2", "    version = 2\n    unique = never", 1))

    with Lab() as lab:
        scene = Scene(lab, peer_runs=False, peer=Causewayd if responder == "causewayd" else Charon, remote_id_a="b.test", local_id_b="b.test",
                      remote_id_b="*.test")
        base = scene.spec_a
        ours = [base.but(name=f"c{n}", local_id=f"p{n}.test", local_net=f"11.0.{n}.0/24", remote_net=f"12.0.{n}.0/24", start="passive", dpd="off") for n in range(peers)]
        scene.a.specs = ours
        scene.b.specs = [scene.spec_b.but(local_net="12.0.0.0/8", remote_net="11.0.0.0/8", start="passive", dpd="0s" if responder == "charon" else "off")]
        if kind == "certificates":
            authority = Authority(lab.dir)
            own = authority.make("a", "p256", [f"DNS:p{n}.test" for n in range(peers)], by="ca-intermediate")
            theirs = authority.make("b", "p256", ["DNS:b.test"], by="ca-intermediate")
            for gateway, certificate in ((scene.a, own), (scene.b, theirs)):
                if gateway.own:
                    gateway.proof_lines = [f"    certificate: {chain(certificate, authority.intermediate)}", f"    private-key: {certificate.with_suffix('.key')}",
                                           f"    ca: {authority.root}"]
                else:
                    gateway.install(certificate, authority.root, authority.intermediate)
        for gateway in (scene.a, scene.b):
            if gateway.own:
                gateway.connection_lines = ("path-mtu-discovery: false", "pfs-preflight: false")
            gateway.write()
        # strongSwan wants an address of its own in whatever it routes
        for n in range(peers):
            lab.run("b", f"ip address add 12.0.{n}.1/32 dev lo")
        scene.b.start()
        scene.a.start()
        before, started = cpu(scene.b), time.monotonic()
        with Client(scene.a.socket) as client:
            for n in range(peers):
                client.call("initiate", {"child": f"c{n}", "ike": f"c{n}", "timeout": "-1"})
        if not wait_until(lambda: established(scene.a) == peers, 60, 0.05):
            raise SystemExit(f"{responder}, {kind}: {established(scene.a)} of {peers} are up: {scene.a.tail(3)}")
        seconds = time.monotonic() - started
        return peers / seconds, 1000 * (cpu(scene.b) - before) / peers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    os.environ.setdefault("CAUSEWAY_BIN", str(PROJECT / ".build-product/release"))
    found = {}
    for number in range(options.rounds):
        for kind in ("pre-shared key", "certificates"):
            for responder in ("causewayd", "charon") if number % 2 else ("charon", "causewayd"):
                result = measure(kind, responder, options.peers)
                found.setdefault((kind, responder), []).append(result)
                print(f"{kind}, {responder}: {result[0]:.0f} a second, {result[1]:.2f} ms", flush=True)
    text = f"""# Handshakes

x25519, AES-256-GCM, {options.peers} IKE_SAs with a CHILD_SA each, begun at once by a causewayd on the same cores; medians of {options.rounds} rounds in turn.
Certificates are of ECDSA P-256, with one intermediate authority. strongSwan 5.9.8 has its defence against floods off, its log quiet, and its ESP in userspace.

| | responder | handshakes a second | its CPU, ms a handshake |
|---|---|---|---|
"""
    for (kind, responder), results in found.items():
        rates, costs = zip(*results)
        text += f"| {kind} | {responder} | {statistics.median(rates):.0f} | {statistics.median(costs):.2f} |\n"
    (HERE / "results/handshakes.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
