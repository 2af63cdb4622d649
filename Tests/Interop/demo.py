#!/usr/bin/env python3
"""Two gateways in namespaces of their own: causewayd on one side, strongSwan on the other, a host behind each.

  demo.py             bring a tunnel up from either end, carry traffic, show what an observer sees, take all down
  demo.py --keep      leave it up and say how to look around (KEEP=1 in the environment does the same)
  demo.py --down      take down what --keep left
"""
import json
import os
import shutil
import signal
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402
from gateways import Causewayd, StrongSwan, pair, program  # noqa: E402
from lab import Lab, LabError, TwoSites, remove_orphans, remove_spaces, wait_until  # noqa: E402
from traffic import Observer  # noqa: E402

PICTURE = """
    host ------ causewayd ======= the Internet ======= strongSwan ------ host
  10.1.0.10    192.0.2.1         (observed here)        192.0.2.2     10.2.0.10
"""
TOTAL_SECONDS = 58
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6      # not in Python's socket module
HOSTS = {"ha": ("10.1.0.10", "10.2.0.10"), "hb": ("10.2.0.10", "10.1.0.10")}


def state_file():
    return peers.CACHE / "demo.json"


def title(text):
    print(f"\n== {text}", flush=True)


def indent(text):
    print("\n".join("   " + x for x in text.rstrip().splitlines()), flush=True)


def bring_up(gateway, other, who):
    started = time.monotonic()
    answer = gateway.up()
    if answer.returncode or not wait_until(lambda: gateway.installed() and other.installed(), 5, 0.1):
        raise LabError(f"the tunnel did not come up: {answer.stdout.strip()[-400:]}")
    print(f"   {who}: up in {time.monotonic() - started:.2f} s")


def ping_both(lab):
    for role, (source, destination) in HOSTS.items():
        answer = lab.call(role, ["ping", "-c", "5", "-i", "0.2", "-W", "2", "-I", source, destination])
        print(f"   {source} to {destination}: {answer.stdout.strip().splitlines()[-2] if answer.stdout.count(chr(10)) > 1 else answer.stdout}")
        if answer.returncode:
            raise LabError("ping got no answer")


def measure(lab, seconds=5):
    """(Mbit/s, retransmitted segments) of iperf3 from host to host."""
    argv, environment = peers.iperf3()
    server = lab.spawn("hb", [*argv, "-s", "-1", "-B", "10.2.0.10"], "iperf3.log", environment)
    time.sleep(0.5)
    answer = lab.call("ha", [*argv, "-c", "10.2.0.10", "-t", str(seconds), "-J"], seconds + 15, environment)
    server.terminate()
    try:
        end = json.loads(answer.stdout)["end"]
        return end["sum_received"]["bits_per_second"] / 1e6, end["sum_sent"].get("retransmits", 0)
    except (ValueError, KeyError):
        raise LabError(f"iperf3: {answer.stdout.strip()[-300:]}") from None


def show(lab):
    sites = TwoSites(lab)
    observer = Observer(lab)
    # room for what passes faster than it is read: "clear packets: 0" must not rest on packets that nobody looked at
    observer.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 192 << 20)
    lab.closers.append(observer.stop)
    spec_a, spec_b = pair(sites, dpd="10s")
    b = StrongSwan(lab, "b", spec_b).start()
    a = Causewayd(lab, "a", spec_a, interface="causeway0").start()
    print(PICTURE)
    title("The tunnel, asked for by causewayd")
    bring_up(a, b, "causeway up branch")
    ping_both(lab)
    title("iperf3 for 5 s, TCP")
    rate, retransmitted = measure(lab)
    print(f"   {rate:.0f} Mbit/s, {retransmitted} segments retransmitted")
    title("causeway status")
    indent(a.cli("status").stdout)
    title("Down, and up again as strongSwan asks for it")
    if a.down().returncode or not wait_until(lambda: not b.sas(), 5, 0.1):
        raise LabError("causeway down did not take the tunnel down at the peer")
    bring_up(b, a, "swanctl --initiate --child branch")
    ping_both(lab)
    title("What the observer on the Internet saw")
    time.sleep(0.3)
    _, unread = struct.unpack("II", observer.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    observer.stop()
    print(f"   packets: {observer.summary()}" + (f"; {unread} more went by unread" if unread else ""))
    print(f"   for example {observer.example()}")
    print(f"   clear packets: {len(observer.clear)}")
    if observer.clear or observer.kinds["esp-in-udp"] < 100:
        raise LabError("the observer saw what it should not see, or nothing at all")
    return a, b


def keep(lab, a, b):
    state_file().write_text(json.dumps({"prefix": lab.prefix, "dir": str(lab.dir)}))
    title("Left up. To look around:")
    uri = f"unix://{a.socket}"
    gateway, peer = lab.space("a"), lab.space("b")
    print(f"""   {program('causeway')} --help
   {program('causeway')} status --uri {uri}
   ip netns exec {lab.space('ha')} ping -I 10.1.0.10 10.2.0.10
   ip netns exec {gateway} ip route show table 2200
   ip netns exec {lab.space('net')} tcpdump -ni pa
   tail -f {lab.dir}/causewayd-a.log        the configuration: {a.config}
   tail -f {lab.dir}/strongswan-b.log       in {peer}
 and to take it down:
   make demo-down""")


def down():
    """End what --keep left."""
    try:
        state = json.loads(state_file().read_text())
    except OSError:
        print("no demo is up")
        return 0
    remove_spaces(state["prefix"])
    directory = Path(state["dir"])
    if directory.name.startswith(state["prefix"]):
        shutil.rmtree(directory, ignore_errors=True)
    state_file().unlink()
    print("the demo is down")
    return 0


def out_of_time(_number, _frame):
    raise LabError(f"not done after {TOTAL_SECONDS} s")


def main():
    if sys.argv[1:] == ["--down"]:
        return down()
    if sys.argv[1:] not in ([], ["--keep"]):
        sys.exit(__doc__)
    started = time.monotonic()
    keeping = sys.argv[1:] == ["--keep"] or os.environ.get("KEEP", "") not in ("", "0")
    try:
        program("causewayd"), program("causeway")
        peers.fetch()
        if state_file().exists():
            down()
        remove_orphans()
        with Lab(keep=keeping) as lab:
            signal.signal(signal.SIGALRM, out_of_time)
            signal.alarm(TOTAL_SECONDS)
            try:
                a, b = show(lab)
            except Exception:
                for log in sorted(lab.dir.glob("*.log")):
                    lines = 60 if log.name.startswith("causewayd") else 12
                    print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-lines:], sep="\n", file=sys.stderr)
                raise
            finally:
                signal.alarm(0)
            if keeping:
                keep(lab, a, b)
                return 0
            title("Taking down")
            if a.stop():
                raise LabError("causewayd did not end cleanly")
            b.stop()
    except (LabError, peers.PeerError) as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    print(f"   all is gone; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
