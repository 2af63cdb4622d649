#!/usr/bin/env python3
"""End to end: causewayd next to other userspace tunnels, in namespaces on this machine.

  run.py [--rounds N] [--quick] [--peers LIST]    measures and writes results/end-to-end.{json,md,svg}
  run.py --report                                 writes Markdown and SVG of the JSON again

CAUSEWAY_BIN         directory of causewayd and causeway (default .build-product/release)
CAUSEWAY_LAB_BENCH   directory of the lab's bench.py (default: shared/lab/bench beside a directory above)

Every peer runs once a round, so that they see the same weather; what counts are ratios within a run. Without the lab, Tests/Interop/bench.py
compares with strongSwan alone.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
RESULTS = HERE / "results"
OURS = {"causewayd": "causewayd.env", "causewayd (OpenSSL)": "causewayd-openssl.env", "causewayd (CBC+SHA2)": "causewayd-cbc.env",
        "causewayd (raw ESP)": "causewayd-raw.env"}
# The lab builds no current wireguard-go: WIREGUARD_GO names one.
WIREGUARD = "wireguard-go:current" if os.environ.get("WIREGUARD_GO") else "wireguard-go"
OTHERS = ["plain", "ntun:gso-gcm128", "ntun:rawgso-gcm128", "strongswan", "strongswan:cbc", WIREGUARD, "openvpn"]
METRICS = [("TCP, one stream, Gbit/s", ["tcp_up.gbps", "tcp_down.gbps"], 1), ("TCP, four streams, Gbit/s", ["tcp_p4.gbps"], 1),
           ("daemons' CPU, seconds a GB", ["tcp_up.cpu_s_per_gb", "tcp_down.cpu_s_per_gb"], 1),
           ("UDP 1400 octets, flooded, kpps", ["flood_1400.pps"], 1e-3), ("UDP 64 octets, flooded, kpps", ["flood_small.pps"], 1e-3),
           ("ping, idle, median ms", ["ping_idle.p50_ms"], 1), ("ping beside one TCP stream, median ms", ["tcp_ping.ping_load.p50_ms"], 1),
           ("the same, 99 % ms", ["tcp_ping.ping_load.p99_ms"], 1),
           ("memory, MB", ["hwm_mb"], 1)]


def lab_bench():
    """The lab's bench.py, or None."""
    named = os.environ.get("CAUSEWAY_LAB_BENCH")
    places = [Path(named)] if named else [above / "shared/lab/bench" for above in PROJECT.parents]
    return next((place / "bench.py" for place in places if (place / "bench.py").exists()), None)


def peer_names(text):
    """What bench.py is told: our names stand for adapter files."""
    names = [name.strip() for name in text.split(",")] if text else [*OTHERS[:1], *OURS, *OTHERS[1:]]
    return [f"cmd:{HERE / 'adapters' / OURS[name]}" if name in OURS else name for name in names]


def label(peer):
    file = Path(peer.partition(":")[2]).name
    return next((name for name, adapter in OURS.items() if peer.startswith("cmd:") and adapter == file), peer)


def dig(run, key):
    for part in key.split("."):
        run = run.get(part) if isinstance(run, dict) else None
    return run


def values(runs, keys, factor):
    found = [dig(run, key) for run in runs for key in keys]
    return [value * factor for value in found if isinstance(value, (int, float))]


def summary(data):
    """{peer: [(median, least, most) or None for each metric]}."""
    rows = {}
    for peer, runs in data["runs"].items():
        row = rows[label(peer)] = []
        for _, keys, factor in METRICS:
            found = values(runs, keys, factor)
            row.append((statistics.median(found), min(found), max(found)) if found else None)
    return {peer: row for peer, row in rows.items() if any(row)}


def show(cell):
    if cell is None:
        return "-"
    digits = 0 if cell[0] >= 100 else 2
    middle, least, most = (f"{value:.{digits}f}" for value in cell)
    return middle if least == most else f"{middle} [{least}–{most}]"


def yardsticks(name, rows):
    """Whom one of ours is compared with."""
    if "CBC" in name:
        return ["strongswan:cbc"]
    if "raw" in name:
        return ["ntun:rawgso-gcm128", "strongswan"]
    return ["ntun:gso-gcm128", *[peer for peer in rows if peer.startswith("wireguard-go")], "strongswan", "openvpn"]


def ratios(rows):
    """A table of how ours compare with the yardsticks of the same run."""
    compared = [metric for metric in METRICS if metric[0] != "memory, MB"]
    lines = ["| | " + " | ".join(name.split(", Gbit")[0].split(", kpps")[0] for name, _, _ in compared) + " |",
             "|---|" + "---|" * len(compared)]
    for name in (n for n in OURS if n in rows):
        for other in (peer for peer in yardsticks(name, rows) if peer in rows):
            cells = []
            for index in range(len(compared)):
                mine, theirs = rows[name][index], rows[other][index]
                cells.append(f"{mine[0] / theirs[0]:.2f}" if mine and theirs and theirs[0] else "-")
            lines.append(f"| {name} / {other} | " + " | ".join(cells) + " |")
    return lines


def markdown(data, rows):
    heads = [name for name, _, _ in METRICS]
    foreign = values([run for runs in data["runs"].values() for run in runs], ["tcp_up.foreign_pct"], 1)
    lines = ["# End to end", "",
             f"{data.get('cpus')} × {data.get('cpu')}, Linux {data.get('kernel')}; client, server and both gateways share them. "
             f"Medians of {max(len(r) for r in data['runs'].values())} interleaved rounds [least–most]. "
             f"Other work on the machine took {statistics.median(foreign or [0]):.0f} % of it.", "",
             "| | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    lines += [f"| {peer} | " + " | ".join(show(cell) for cell in row) + " |" for peer, row in rows.items()]
    lines += ["", "## Ratios within the run", "", *ratios(rows), "", "![TCP and CPU](end-to-end.svg)", "", "Made by `make bench`.", ""]
    return "\n".join(lines)


def svg(rows):
    """Bars of the throughput and of the CPU that it took."""
    bar, left, width, panel = 18, 210, 420, 0
    panels = [0, 2, 3]
    peers = list(rows)
    height = len(panels) * (len(peers) * (bar + 6) + 50) + 10
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 110}" height="{height}" font-family="sans-serif" font-size="12">']
    y = 20
    for panel in panels:
        out.append(f'<text x="10" y="{y}" font-weight="bold">{METRICS[panel][0]}</text>')
        y += 12
        most = max((row[panel][0] for row in rows.values() if row[panel]), default=1) or 1
        for peer in peers:
            cell = rows[peer][panel]
            length = width * cell[0] / most if cell else 0
            color = "#2b6cb0" if peer in OURS else "#a0aec0"
            out.append(f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{peer}</text>')
            out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{color}"/>')
            out.append(f'<text x="{left + length + 6:.1f}" y="{y + 13}">{show(cell) if cell else "-"}</text>')
            y += bar + 6
        y += 32
    return "\n".join([*out, "</svg>", ""])


def keep(data):
    """The figures under our own names, without the paths of this machine."""
    runs = {label(peer): [{k: v for k, v in run.items() if k != "died"} for run in found] for peer, found in data["runs"].items()}
    kept = {key: data.get(key) for key in ("cpus", "cpu", "kernel")} | {"runs": runs}
    (RESULTS / "end-to-end.json").write_text(json.dumps(kept, indent=1) + "\n")


def report():
    data = json.loads((RESULTS / "end-to-end.json").read_text())
    rows = summary(data)
    (RESULTS / "end-to-end.md").write_text(markdown(data, rows))
    (RESULTS / "end-to-end.svg").write_text(svg(rows))
    print((RESULTS / "end-to-end.md").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round, short runs")
    parser.add_argument("--peers", help="names with commas between: " + ", ".join([*OURS, *OTHERS]))
    parser.add_argument("--scenarios", default="tcp_up,tcp_down,tcp_p4,ping_idle,tcp_ping,flood_1400,flood_small")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    if options.report:
        return report()
    bench = lab_bench()
    if bench is None:
        print("no lab here (CAUSEWAY_LAB_BENCH): only strongSwan is compared with", flush=True)
        os.execv(sys.executable, [sys.executable, str(PROJECT / "Tests/Interop/bench.py")])
    environment = {"CAUSEWAY_BIN": str(PROJECT / ".build-product/release"), **os.environ}
    RESULTS.mkdir(exist_ok=True)
    raw = Path(tempfile.mkdtemp(prefix="causeway-bench-")) / "raw.json"
    argv = [sys.executable, str(bench), "--peers", ",".join(peer_names(options.peers)), "--scenarios", options.scenarios,
            "--repeats", "1" if options.quick else str(options.rounds), "--secs", "3" if options.quick else "5",
            "--prefix", "cwb", "--json", str(raw)]
    # A peer that is not installed is an error of its own line.
    subprocess.run(argv, env=environment, check=False)
    keep(json.loads(raw.read_text()))
    shutil.rmtree(raw.parent)
    report()


if __name__ == "__main__":
    main()
