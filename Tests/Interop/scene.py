"""What the cases are made of: their register, `Failure`, and a scene of two gateways with an observer between them.

`a` is the gateway under test, `b` is strongSwan with kernel-libipsec. Every case has a lab of its own.
"""
import json
import os
import time

from gateways import StrongSwan, pair, subject
from lab import TwoSites, wait_until
from traffic import Observer, ping, wait_for_ping

HA, HB = TwoSites.HOST["a"], TwoSites.HOST["b"]
CASES = {}
# What takes minutes: `make test-long` sets it.
LONG = os.environ.get("CAUSEWAY_LONG") == "1"


class Failure(Exception):
    """The gateway did not do what the case asks."""


def case(name, seconds=60, own=False, long=False):
    """Register a case with its time limit; `own` marks what only causewayd can pass, `long` what runs only when asked for."""
    def register(function):
        CASES[name] = (function, seconds, own, long)
        return function
    return register


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Skip(Exception):
    """The case needs something that this machine does not have; its one line says what."""


def note(text):
    """A figure for the case's line in the report."""
    print(f"note: {text}", flush=True)


def drops(gateway):
    """What causewayd dropped, by reason."""
    status = json.loads(gateway.cli("status", "--json").stdout)
    return {reason: int(n) for reason, n in status["stats"]["causeway"]["drops"].items() if int(n)}


class Scene:
    """Topology, observer, and both gateways, started."""

    def __init__(self, lab, nat=None, peer_runs=True, gateway=None, peer=StrongSwan, sites=None, **changes):
        self.lab, self.sites = lab, sites or TwoSites(lab, nat)
        self.observer = Observer(lab)
        lab.closers.append(self.observer.stop)
        self.spec_a, self.spec_b = pair(self.sites, **changes)
        self.b = peer(lab, "b", self.spec_b)
        if peer_runs:
            self.b.start()
        self.a = subject(lab, "a", self.spec_a, **(gateway or {}))

    def run(self):
        self.a.start()
        return self

    def connect(self, role="initiator"):
        """Bring the tunnel up by one end, wait until both have it."""
        one = self.a if role == "initiator" else self.b
        answer = one.up()
        expect(answer.returncode == 0, f"up as {role}: exit {answer.returncode}: {last_line(answer.stdout)}")
        expect(wait_until(lambda: self.a.installed() and self.b.installed(), 5, 0.1), f"no CHILD_SA on both sides after up as {role}")
        return self

    def expect_pings(self, count=10):
        for role, source, destination in (("ha", HA, HB), ("hb", HB, HA)):
            sent, lost = ping(self.lab, role, source, destination, count)
            expect(lost == 0, f"{lost} of {sent} pings lost from {role}")

    def expect_traffic(self, seconds=60):
        answered = wait_for_ping(self.lab, "ha", HA, HB, seconds)
        expect(answered is not None, f"no ping answered within {seconds} s")
        return answered

    def expect_no_clear(self):
        time.sleep(0.2)
        expect(self.observer.clear_from_gateway == 0, f"{self.observer.clear_from_gateway} clear packets left the gateway")


def last_line(text):
    lines = [x for x in text.strip().splitlines() if x.strip()]
    return lines[-1][:200] if lines else "no output"
