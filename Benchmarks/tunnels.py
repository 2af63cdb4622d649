#!/usr/bin/env python3
"""What many tunnels cost the traffic of one, and what an idle one takes: writes results/tunnels.md.

  tunnels.py [--tunnels 10000] [--rounds 10]

Instructions per packet by callgrind, in one process (microbench); CPU seconds a GB with live daemons, a pair with one tunnel and a pair
with all of them measured in turn; memory by /proc. Needs root, valgrind, and what the interop tests need.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
sys.path.insert(0, str(PROJECT / "Tests/Interop"))
TICK = os.sysconf("SC_CLK_TCK")
GIGABYTE = 1_000_000_000


# One pair of gateways, in a process of its own

def serve(count):
    """Two daemons with so many tunnels; each line on stdin asks for a measurement, each answer is a line of JSON."""
    from lab import Lab, wait_until
    from gateways import Causewayd, Spec, program
    from load import resident
    from scene import HB, Scene
    from traffic import transfer, wait_for_ping
    from vici_cases import established
    with Lab() as lab:
        scene = Scene(lab, peer_runs=False, peer=Causewayd)
        lab.run("hb", "ip addr add 10.100.1.10/24 dev lo")
        lab.run("b", f"ip route add 10.100.1.0/24 via {HB}")
        ours = [Spec(local="192.0.2.1", remote="192.0.2.2", local_net=f"11.{n // 250}.{n % 250}.0/24" if n else "10.1.0.0/24", remote_net=f"10.{100 + n // 250}.{n % 250 + 1}.0/24", name=f"c{n}",
                     local_id=f"left{n}", remote_id=f"right{n}", start="start", dpd="off") for n in range(count)]
        theirs = [s.but(local=s.remote, remote=s.local, local_net=s.remote_net, remote_net=s.local_net, local_id=s.remote_id, remote_id=s.local_id,
                        start="passive") for s in ours]
        idle, gateways = [], (scene.b, scene.a)
        for gateway, specs in zip(gateways, (theirs, ours)):
            gateway.specs = specs[:1]
            gateway.write()
            gateway.start()
            time.sleep(1)
            idle.append(resident(gateway))
            gateway.stop()
            gateway.specs = specs
            gateway.write()
            # a file may have 4 MiB and 200,000 values
            gateway.config.write_text(re.sub(r"    (retransmit|ike-proposals|esp-proposals): .*\n", "", gateway.config.read_text()))
        a, b = scene.a, scene.b
        started = time.monotonic()
        for gateway in gateways:
            gateway.spawn([program("causewayd"), "--config", str(gateway.config), "--vici", str(gateway.socket), "--log-level", "warning"], seconds=120)
        if not wait_until(lambda: established(a) == count, 1200, 1):
            raise SystemExit(f"{established(a)} of {count} tunnels are up")
        seconds = time.monotonic() - started
        wait_for_ping(lab, "ha", "10.1.0.10", "10.100.1.10", 20)
        time.sleep(3)
        kib = [(resident(gateway) - before) / count for gateway, before in zip(gateways, idle)]
        print(json.dumps({"seconds": seconds, "kib": kib}), flush=True)
        for _ in sys.stdin:
            before = sum(cpu(gateway) for gateway in (a, b))
            transfer(lab, "ha", "hb", "10.100.1.10", octets=GIGABYTE, seconds=120)
            print(json.dumps({"cpu": sum(cpu(gateway) for gateway in (a, b)) - before}), flush=True)


def cpu(gateway):
    """CPU seconds of a daemon so far."""
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Pair:
    def __init__(self, count):
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.count = count

    def wait(self):
        """What bringing it up took."""
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the pair with {self.count} tunnels did not come up")
        return json.loads(line)

    def measure(self):
        print(file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())["cpu"]

    def end(self):
        self.process.stdin.close()
        self.process.wait(120)


# Instructions

def instructions(tunnels, binary):
    """Instructions of one packet's way through both engines."""
    def total(packets):
        argv = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", binary, "tunnels", str(tunnels), str(packets)]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
        if not done.stdout.startswith(f"{packets} of"):
            raise SystemExit(f"packets were lost: {done.stdout}")
        return int(re.search(r"Collected : (\d+)", done.stderr)[1])
    few, more = 9_600, 28_800
    return (total(more) - total(few)) / (more - few)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tunnels", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    binary = str(Path(os.environ.setdefault("CAUSEWAY_BIN", str(PROJECT / ".build-product/release"))) / "microbench")
    # they come up meanwhile
    pairs = [Pair(1), Pair(options.tunnels)]
    with tempfile.TemporaryDirectory() as directory:
        # valgrind reads no debugging information of Swift's
        stripped = str(Path(directory) / "microbench")
        subprocess.run(["strip", "-o", stripped, binary], check=True)
        one, many = (instructions(n, stripped) for n in (1, options.tunnels))
    starts, used = [pair.wait() for pair in pairs], [[], []]
    for number in range(options.rounds):
        for index in (0, 1) if number % 2 else (1, 0):
            used[index].append(pairs[index].measure())
    for pair in pairs:
        pair.end()
    start, medians = starts[1], [statistics.median(values) for values in used]
    ratio = statistics.median(b / a for a, b in zip(*used))
    text = f"""# Tunnels

What {options.tunnels:,} tunnels on the shared TUN cost the traffic of one of them.

| | 1 tunnel | {options.tunnels:,} tunnels | ratio |
|---|---|---|---|
| instructions per packet, both ends, 1400 octets, AES-GCM by OpenSSL (callgrind) | {one:.0f} | {many:.0f} | {many / one:.3f} |
| CPU seconds a GB, both daemons (TCP, {options.rounds} rounds in turn, medians) | {medians[0]:.2f} | {medians[1]:.2f} | {ratio:.2f} |

{options.tunnels:,} connections of a gateway.yaml, each an IKE_SA and a CHILD_SA of its own, were up after {start['seconds']:.0f} s, both daemons on this
machine. An idle tunnel takes {start['kib'][1]:.1f} KiB of resident memory at the end that began it and {start['kib'][0]:.1f} KiB at the other.

Made by `make bench`.
"""
    (HERE / "results/tunnels.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
