#!/usr/bin/env python3
"""Compare causewayd with strongSwan's userspace ESP: TCP through one tunnel between two gateways of the same kind.

  bench.py [SECONDS]      iperf3, one flow, both directions one after the other; three rounds each, the median counts

Both run on this machine one after the other, in the same namespaces, with the same algorithms.  CPU is what the two gateways used
per gigabit carried.
"""
import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402
from gateways import Causewayd, StrongSwan, pair, program  # noqa: E402
from lab import Lab, LabError, TwoSites, wait_until  # noqa: E402

SUITES = {"aes256gcm16": "aes256gcm16-prfsha256-x25519", "chacha20poly1305": "chacha20poly1305-prfsha256-x25519"}
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def iperf(lab, seconds, reverse):
    argv, environment = peers.iperf3()
    server = lab.spawn("hb", [*argv, "-s", "-1", "-B", "10.2.0.10"], "iperf3.log", environment)
    time.sleep(0.4)
    answer = lab.call("ha", [*argv, "-c", "10.2.0.10", "-t", str(seconds), "-J", *(["-R"] if reverse else [])], seconds + 15, environment)
    server.terminate()
    server.wait(3)
    try:
        return json.loads(answer.stdout)["end"]["sum_received"]
    except (ValueError, KeyError):
        raise LabError(f"iperf3: {answer.stdout.strip()[-300:]}") from None


def measure(kind, suite, seconds):
    """(Mbit/s, CPU seconds of both gateways per Gbit)."""
    with Lab() as lab:
        sites = TwoSites(lab)
        spec_a, spec_b = pair(sites, esp=suite, ike=SUITES[suite])
        a, b = kind(lab, "a", spec_a).start(), kind(lab, "b", spec_b).start()
        answer = a.up()
        if answer.returncode or not wait_until(lambda: a.installed() and b.installed(), 5, 0.1):
            raise LabError(f"the tunnel did not come up: {answer.stdout.strip()[-300:]}")
        iperf(lab, 1, False)
        rates, costs = [], []
        for _ in range(3):
            before, bits, rate = cpu(a.process.pid) + cpu(b.process.pid), 0, 0
            for reverse in (False, True):
                result = iperf(lab, seconds, reverse)
                bits += result["bytes"] * 8
                rate += result["bits_per_second"] / 2e6
            rates.append(rate)
            costs.append((cpu(a.process.pid) + cpu(b.process.pid) - before) / (bits / 1e9))
        return statistics.median(rates), statistics.median(costs)


def main():
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 4
    try:
        program("causewayd")
        peers.fetch()
        print(f"{'':18} {'causewayd':>22} {'strongSwan libipsec':>24}    ratio")
        for suite in SUITES:
            ours, theirs = measure(Causewayd, suite, seconds), measure(StrongSwan, suite, seconds)
            print(f"{suite:18} {ours[0]:8.0f} Mbit/s {ours[1]:4.2f} s/G {theirs[0]:10.0f} Mbit/s {theirs[1]:4.2f} s/G"
                  f"    {ours[0] / theirs[0]:.2f} x rate, {ours[1] / theirs[1]:.2f} x CPU", flush=True)
    except (LabError, peers.PeerError) as e:
        sys.exit(f"bench: {e}")


if __name__ == "__main__":
    main()
