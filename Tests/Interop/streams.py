"""The commands that follow the daemon: `causeway monitor` and `causeway log`."""
import json
import re
import signal
import subprocess
import time

from gateways import program
from lab import wait_until
from scene import Scene, case, expect


class Follower:
    """`causeway monitor` or `causeway log` on the gateway under test."""

    def __init__(self, scene, *arguments):
        self.lab, self.log = scene.lab, f"{'-'.join(arguments)}.txt"
        self.process = scene.lab.spawn("a", [program("causeway"), "--uri", f"unix://{scene.a.socket}", *arguments], self.log)

    def lines(self):
        return (self.lab.dir / self.log).read_text(errors="replace").splitlines()

    def line(self, pattern, seconds=8):
        """The first line that matches, or None."""
        return wait_until(lambda: next((x for x in self.lines() if re.search(pattern, x)), None), seconds)

    def wait(self, seconds=8):
        """Exit status, or None while it runs on."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None


@case("command-monitor", own=True)
def command_monitor(lab):
    """Every event one line; Ctrl-C ends with 0, the end of the daemon with 2."""
    scene = Scene(lab).run().connect()
    plain, other, objects = Follower(scene, "monitor"), Follower(scene, "monitor", "nobody"), Follower(scene, "monitor", "--json", "branch")
    # they have registered when the daemon tells them something
    expect(wait_until(lambda: scene.a.cli("rekey", "branch", "branch").returncode == 0 and len(plain.lines()) and len(objects.lines()), 15, 0.5),
           "no event of a rekey")
    expect(plain.line(r"^\d\d:\d\d:\d\d branch/branch: CHILD_SA \{\d+\} rekeyed: \{\d+\} takes over"), f"no rekey of the CHILD_SA: {plain.lines()}")
    expect(scene.a.cli("rekey", "branch").returncode == 0, "the IKE_SA was not rekeyed")
    expect(plain.line(r"branch: IKE_SA \[\d+\] rekeyed: \[\d+\] takes over, IKEv2 AES"), f"no rekey of the IKE_SA: {plain.lines()}")
    scene.expect_pings(3)
    # counters are collected once a second
    time.sleep(2)
    expect(scene.a.down().returncode == 0, "down was refused")
    expect(plain.line(r"branch/branch: CHILD_SA \{\d+\} is down: requested here \(it carried in \d+ B \([1-9]\d* packets\)"), f"no CHILD_SA down with its reason: {plain.lines()}")
    expect(plain.line(r"branch: IKE_SA \[\d+\] with 192.0.2.2\[4500\] is down: requested here"), f"no IKE_SA down with its reason: {plain.lines()}")
    expect(scene.a.up().returncode == 0, "up was refused")
    expect(plain.line(r"branch/branch: CHILD_SA \{\d+\} is up, 10.1.0.0/24 ↔ 10.2.0.0/24"), f"no CHILD_SA up: {plain.lines()}")
    wanted = {("child-rekey", None), ("ike-rekey", None), ("child-updown", False), ("ike-updown", False), ("child-updown", True), ("ike-updown", True)}
    expect(wait_until(lambda: wanted <= {(e["event"], e.get("up")) for e in map(json.loads, objects.lines())}, 5), f"events: {objects.lines()}")
    events = [json.loads(x) for x in objects.lines()]
    expect(all(e["connection"] == "branch" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", e["time"]) for e in events), f"keys: {events[0]}")
    expect(all(e["reason"] == "requested here" for e in events if e.get("up") is False), "an end without its reason")
    expect(not other.lines(), f"events of another connection: {other.lines()}")
    plain.process.send_signal(signal.SIGINT)
    expect(plain.wait() == 0, f"Ctrl-C: exit {plain.process.returncode}")
    scene.a.stop()
    expect(objects.wait() == 2, f"the daemon ended: exit {objects.process.returncode}")


@case("command-log", own=True)
def command_log(lab):
    """The daemon's log by connection and level."""
    scene = Scene(lab)
    scene.run()
    followers = plain, objects, quiet, other = [Follower(scene, "log", *arguments) for arguments in
                                                ((), ("--json", "--level", "2", "branch"), ("--level", "0"), ("nobody",))]
    expect(wait_until(lambda: scene.a.down().returncode in (0, 1) and scene.a.up().returncode == 0 and plain.line("established", 0.1), 15, 0.2),
           f"nothing of the log: {plain.lines()}")
    expect(plain.line(r"^\d\d:\d\d:\d\d CHD CHILD_SA branch\{\d+\} established"), f"no CHILD_SA: {plain.lines()}")
    records = [json.loads(x) for x in objects.lines()]
    expect(records and all(r["connection"] == "branch" and r["level"] <= 2 and r["message"] for r in records), f"records: {objects.lines()}")
    expect(not quiet.lines() and not other.lines(), f"lines that nobody wanted: {quiet.lines() + other.lines()}")
    for follower in followers:
        follower.process.send_signal(signal.SIGTERM)
    expect([f.wait() for f in followers] == [0] * 4, f"SIGTERM: {[f.process.returncode for f in followers]}")
