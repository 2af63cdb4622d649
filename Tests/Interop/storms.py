"""Rekey storms: CHILD_SAs renewed every 3 s and IKE_SAs every 10 s, by one end or by both at once, under 100 pings a second.

What is lost is told apart by direction (did the request reach the far host?), by place (was it seen on the outer wire?) and by the
counters of both ends. strongSwan against strongSwan (CAUSEWAY_SUBJECT=strongswan) says what the peer itself loses at a rekey.
"""
import collections
import os
import re
import time

from gateways import Causewayd
from lab import wait_until
from scene import HA, HB, LONG, Scene, case, drops, expect, note
from traffic import EchoWitness, Pinger, esp_header
from wire import ImpairedWire

SECONDS = int(os.environ.get("CAUSEWAY_STORM_SECONDS", 120 if LONG else 25))
CHILD_EVERY, IKE_EVERY = 3, 10
PFS = "aes256gcm16-x25519"


def rekeys(scene):
    """(CHILD rekeys, IKE rekeys) that our log tells of; of strongSwan's log where that is the subject."""
    text = scene.a.log()
    if scene.a.own:
        return len(re.findall(r"CHILD_SA \S+ rekeyed:", text)), len(re.findall(r"IKE_SA \S+ with \S+ rekeyed:", text))
    return text.count("inbound CHILD_SA") - len(scene.spec_a.tunnels), len(re.findall(r"IKE_SA \S+ rekeyed between", text))


class Storm:
    """Traffic and what there is to say about it."""

    def __init__(self, scene, pairs=((HA, HB),), interval=0.01):
        self.scene, self.started = scene, time.monotonic()
        self.pings = [Pinger(scene.lab, "ha", source, target, interval) for source, target in pairs]
        self.witnesses = [EchoWitness(scene.lab, "hb", p.identifier) for p in self.pings]

    def stop(self):
        self.seconds = time.monotonic() - self.started
        for p in self.pings:
            p.running = False
        for p in self.pings:
            p.stop(1.5)
        for w in self.witnesses:
            w.stop()
        return self

    @property
    def sent(self):
        return sum(len(p.sent) for p in self.pings)

    @property
    def lost(self):
        return sum(p.lost() for p in self.pings)

    def account(self):
        """The losses by direction, those of a row taken together, each with what the outer wire saw around it."""
        ways, lines = collections.Counter(), []
        for pings, witness in zip(self.pings, self.witnesses):
            last = 0
            for n in sorted(n for n in pings.sent if n not in pings.answered):
                way = "answers" if n in witness.seen else "requests"
                ways[way] += 1
                if n != last + 1:
                    lines.append(f"{pings.destination} ping {n} at {pings.sent[n] - self.started:.3f} s: {way[:-1]} lost\n" + self.around(pings.sent[n]))
                last = n
        return ways, lines

    def around(self, moment):
        """ESP on the outer wire within 60 ms, one line for each run of an SPI."""
        text, last = [], None
        for f in list(self.scene.observer.frames):
            if not moment - 0.02 < f.time < moment + 0.04 or not (place := esp_header(f.kind, f.data)):
                continue
            way = "b>a" if f.outgoing else "a>b"
            text.append(f"    {(f.time - moment) * 1000:+6.1f} ms {way} {place[0]:08x} {place[1]}" if (way, place[0]) != last
                        else f"{(f.time - moment) * 1000:+.1f} {place[1]}")
            last = (way, place[0])
        return " ".join(text).replace("     ", "\n    ")


def expect_one_of_each(scene, children=1, seconds=12):
    """No duplicate is left: one IKE_SA and one CHILD_SA a tunnel, on both sides at one moment between two rekeys."""
    wanted = (1, children)
    counts = []

    def settled():
        counts[:] = [scene.a.counts(), scene.b.counts()]
        return all(c == wanted for c in counts)
    expect(wait_until(settled, seconds, 0.1), f"IKE_SAs and CHILD_SAs in use at the end: {counts[0]} here, {counts[1]} at the peer, not {wanted}")


def say(scene, storm):
    """Figures into the report, details into the case's log; returns how many were lost."""
    children, ikes = rekeys(scene)
    ways, lines = storm.account()
    rate = storm.sent / storm.seconds / len(storm.pings)
    note(f"{storm.lost} of {storm.sent} pings lost ({rate:.0f}/s, {len(storm.pings)} tunnels), {children} CHILD and {ikes} IKE rekeys")
    if storm.lost:
        note("lost " + ", ".join(f"{n} {way}" for way, n in ways.items()))
    if scene.a.own and (found := drops(scene.a)):
        note("drops here: " + ", ".join(f"{n} {reason}" for reason, n in found.items()))
    (scene.lab.dir / "losses.log").write_text("\n".join(lines) + "\n")
    return storm.lost, children, ikes


def no_tunnel_fell(scene):
    for gateway in (scene.a, scene.b):
        fallen = fallen_of_ours(gateway) if gateway.own else fallen_of_strongswan(gateway)
        expect(not fallen, f"{len(fallen)} IKE_SAs fell: {fallen[0][-200:] if fallen else ''}")


def fallen_of_ours(gateway):
    return [x for x in gateway.log().splitlines() if "IKE_SA" in x and " down: " in x]


def fallen_of_strongswan(gateway):
    """Its lines about IKE_SAs that it gave up.

    One that a collision made redundant is ours to delete; if the answer that names it was lost and the old IKE_SA is
    gone, we never learn of it. strongSwan deletes it in the end and gives that up: no tunnel depends on it.
    """
    lines = gateway.log().splitlines()
    redundant = {m[1] for x in lines if (m := re.search(r"waiting for delete for redundant IKE_SA (\S+)", x))}
    forgiven = sum(1 for x in lines if (m := re.search(r"sending DELETE for IKE_SA (\S+)", x)) and m[1] in redundant)
    fallen = []
    for line, after in zip(lines, lines[1:] + [""]):
        if "giving up after" in line and "proper IKE_SA delete failed" in after and forgiven:
            forgiven -= 1
        elif "giving up after" in line or "deleting half open" in line:
            fallen.append(line)
    return fallen


def expect_storm(scene, seconds, expected_children, expected_ikes):
    storm = Storm(scene)
    time.sleep(seconds)
    storm.stop()
    lost, children, ikes = say(scene, storm)
    expect_one_of_each(scene)
    no_tunnel_fell(scene)
    expect(children >= expected_children and ikes >= expected_ikes, f"only {children} CHILD and {ikes} IKE rekeys in {seconds} s: the test proves nothing")
    return lost


def storm_case(name, who, esp):
    # the peer's own losses are its own: see the module's text
    @case(name, SECONDS + 60)
    def run(lab):
        changes = {f"{what}_rekey_{side}": every for side in who for what, every in (("child", CHILD_EVERY), ("ike", IKE_EVERY))}
        scene = Scene(lab, start_a="start", esp=esp, **changes)
        scene.observer.keep(SECONDS * 500)
        scene.run()
        scene.expect_traffic(15)
        lost = expect_storm(scene, SECONDS, SECONDS // CHILD_EVERY * 2 // 3, max(1, SECONDS // IKE_EVERY - 1))
        expect(lost == 0, f"{lost} pings lost")


for _name, _who in (("ours", "a"), ("theirs", "b"), ("both", "ab")):
    storm_case(f"rekey-storm-{_name}", _who, "aes256gcm16")
    storm_case(f"rekey-storm-{_name}-pfs", _who, PFS)


@case("rekey-storm-lossy-wire", max(60, SECONDS) + 90)
def lossy_wire(lab):
    """Both ends rekey over a wire that loses, doubles and reorders: no tunnel falls, nothing is left twice."""
    seconds = max(60, SECONDS)
    scene = Scene(lab, start_a="start", dpd="5s", esp=PFS, child_rekey=CHILD_EVERY, ike_rekey=IKE_EVERY)
    wire = ImpairedWire(lab, scene.sites)
    scene.run()
    scene.expect_traffic(20)
    wire.tell(loss=0.05, dup=0.05, reorder=0.05)
    storm = Storm(scene, interval=0.02)
    time.sleep(seconds)
    storm.stop()
    said = wire.tell(loss=0, dup=0, reorder=0)
    children, ikes = rekeys(scene)
    note(f"wire: {said}; {storm.lost} of {storm.sent} pings lost, {children} CHILD and {ikes} IKE rekeys")
    note("drops here: " + ", ".join(f"{n} {reason}" for reason, n in drops(scene.a).items()) if scene.a.own else "")
    no_tunnel_fell(scene)
    expect_one_of_each(scene, seconds=30)
    expect(storm.lost < storm.sent * 0.15, f"{storm.lost} of {storm.sent} pings lost over a wire that loses 5 % each way")
    expect(children >= seconds // CHILD_EVERY // 2 and ikes >= seconds // IKE_EVERY // 2, f"only {children} CHILD and {ikes} IKE rekeys")


@case("rekey-storm-between-ours", SECONDS + 60, own=True)
def between_ours(lab):
    """Two causewayd, four tunnels over one IKE_SA, both ends rekey everything at once."""
    numbers = (3, 4, 5)
    scene = Scene(lab, peer=Causewayd, start_a="start", esp=PFS, child_rekey=CHILD_EVERY, ike_rekey=IKE_EVERY,
                  more_a={f"t{n}": ("10.1.0.0/24", f"10.{n}.0.0/24") for n in numbers},
                  more_b={f"t{n}": (f"10.{n}.0.0/24", "10.1.0.0/24") for n in numbers})
    for n in numbers:
        lab.run("hb", f"ip addr add 10.{n}.0.10/24 dev lo")
        lab.run("b", f"ip route add 10.{n}.0.0/24 via {HB}")
    scene.observer.keep(SECONDS * 1000)
    scene.run()
    scene.expect_traffic(15)
    expect(wait_until(lambda: scene.a.counts() == (1, 4), 10, 0.2), f"not four tunnels over one IKE_SA: {scene.a.counts()}")
    storm = Storm(scene, [(HA, HB)] + [(HA, f"10.{n}.0.10") for n in numbers], interval=0.02)
    time.sleep(SECONDS)
    storm.stop()
    lost, children, ikes = say(scene, storm)
    note("drops there: " + (", ".join(f"{n} {reason}" for reason, n in drops(scene.b).items()) or "none"))
    expect_one_of_each(scene, 4)
    no_tunnel_fell(scene)
    expect(children >= SECONDS // CHILD_EVERY * 2 and ikes >= max(1, SECONDS // IKE_EVERY - 1), f"only {children} CHILD and {ikes} IKE rekeys")
    expect(lost == 0, f"{lost} pings lost")
