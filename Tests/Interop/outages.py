"""Outages: the link, the address, the process or the peer goes away for a while. Traffic comes back by itself; the times are noted."""
import contextlib
import os
import re
import signal
import time

import peers
from gateways import Causewayd, StrongSwan
from lab import wait_until
from scene import HA, HB, LONG, Scene, Skip, case, expect, note
from traffic import Pinger


class Outage:
    """Pings both ways across an outage; what they say about it."""

    def __init__(self, scene, seconds=60):
        self.scene, self.seconds = scene, seconds
        scene.expect_traffic(20)
        self.there = Pinger(scene.lab, "ha", HA, HB, 0.02)
        self.back = Pinger(scene.lab, "hb", HB, HA, 0.02)
        time.sleep(1)

    def over(self, what):
        """The outage ends now: notes when traffic was back, fails when it does not come back or does not stay."""
        moment = time.monotonic()
        answers = wait_until(lambda: all(p.first_answer(moment) is not None for p in (self.there, self.back)), self.seconds, 0.1)
        times = [p.first_answer(moment) for p in (self.there, self.back)]
        expect(answers, f"{what}: no traffic {self.seconds} s later (from here {times[0]}, from the peer's side {times[1]})")
        time.sleep(2)
        for p in (self.there, self.back):
            p.stop()
        steady = time.monotonic() - 2.5
        lost = [p.lost() - p.lost(moment) for p in (self.there, self.back)], [p.lost(moment) for p in (self.there, self.back)]
        note(f"{what}: back after {max(times) * 1000:.0f} ms; pings lost meanwhile {lost[0][0]}, after its end {lost[1][0]}")
        expect(self.there.lost(steady) == 0 and self.back.lost(steady) == 0, "pings are still lost after traffic came back")
        expect(wait_until(lambda: len(self.scene.a.sas()) == 1, 40, 0.5), f"{len(self.scene.a.sas())} IKE_SAs at the end")
        self.scene.expect_no_clear()
        return max(times)


def outage(name, seconds):
    """Register a case against strongSwan and, with -ours, against causewayd."""
    def register(function):
        for peer, suffix in ((StrongSwan, ""), (Causewayd, "-ours")):
            case(name + suffix, seconds, own=True, long=peer is Causewayd)(lambda lab, peer=peer: function(lab, peer))
        return function
    return register


@outage("interface-down", 120)
def interface_down(lab, peer):
    seconds = 20 if LONG else 8
    scene = Scene(lab, peer=peer, start_a="start", dpd="2s", dpd_b="2s").run()
    pings = Outage(scene)
    lab.run("a", "ip link set out0 down")
    time.sleep(seconds)
    # the link returns and with it what a network manager does
    lab.run("a", "ip link set out0 up; ip route replace default via 192.0.2.254")
    pings.over(f"link down for {seconds} s")


@outage("address-changed", 120)
def address_changed(lab, peer):
    """Our outer address becomes another one, as after a new lease."""
    scene = Scene(lab, peer=peer, peer_runs=False, start_a="start", dpd="3s", dpd_b="3s")
    scene.b.specs[0] = scene.b.specs[0].but(remote="any" if scene.b.own else "%any")
    scene.b.write()
    scene.b.start()
    scene.a.any_address = True
    scene.a.write()
    scene.run()
    pings = Outage(scene)
    lab.run("a", "ip addr del 192.0.2.1/24 dev out0; ip addr add 192.0.2.9/24 dev out0; ip route replace default via 192.0.2.254")
    pings.over("192.0.2.1 became 192.0.2.9")
    expect("192.0.2.9" in scene.a.swanctl("--list-sas").stdout, "the IKE_SA does not use the new address")


@outage("sigstop", 180)
def sigstop(lab, peer):
    """The daemon stands still, as in a suspended virtual machine; the peer may give it up meanwhile."""
    seconds = 60 if LONG else 15
    scene = Scene(lab, peer=peer, start_a="start", dpd="3s", dpd_b="3s").run()
    pings = Outage(scene)
    scene.a.process.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    scene.a.process.send_signal(signal.SIGCONT)
    pings.over(f"stopped for {seconds} s")


@outage("peer-restarts", 120)
def peer_restarts(lab, peer):
    """The peer is killed and comes back with no memory of us: its INVALID_SPI, or its silence, is the sign."""
    scene = Scene(lab, peer=peer, start_a="start", dpd="3s", dpd_b="3s").run()
    pings = Outage(scene)
    scene.b.kill()
    time.sleep(1)
    scene.b.start()
    pings.over("kill -9 of the peer and a new start")


@outage("own-restarts", 120)
def own_restarts(lab, peer):
    """We are killed and come back with no memory; the peer is told by INVALID_SPI and INVALID_IKE_SPI, or we begin anew."""
    scene = Scene(lab, peer=peer, start_a="start", dpd_b="3s").run()
    pings = Outage(scene)
    scene.a.kill()
    time.sleep(1)
    scene.a.start()
    pings.over("kill -9 of ours and a new start")


@case("own-restarts-passive", 120, own=True)
def own_restarts_passive(lab):
    """As before, but only the peer may begin: it has to learn that its SAs are gone."""
    scene = Scene(lab, peer=Causewayd, start_b="start", dpd_b="10s").run()
    pings = Outage(scene)
    scene.a.kill()
    time.sleep(1)
    scene.a.start()
    pings.over("kill -9 of ours, and the peer begins anew")


@case("clock-moves", 120, own=True)
def clock_moves(lab):
    """The time of day jumps by hours both ways: nothing expires, nothing is renewed, nothing is lost."""
    with contextlib.suppress(peers.PeerError):
        peers.fetch_extras()
    library = peers.faketime()
    if library is None:
        raise Skip("libfaketime is not there: nothing moves one daemon's clock")
    scene = Scene(lab, start_a="start", dpd="3s")
    offset = lab.dir / "clock"
    offset.write_text("+0\n")
    scene.a.environment = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(offset), "FAKETIME_NO_CACHE": "1",
                           "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
    scene.run()
    scene.expect_traffic(20)
    before = [s["id"] for s in scene.a.sas()], re.findall(r"in +([0-9a-f]{8})", scene.a.swanctl("--list-sas").stdout)
    pings = Pinger(lab, "ha", HA, HB, 0.02)
    for moved in ("+3h", "-3h", "+400d", "+0"):
        offset.write_text(moved + "\n")
        time.sleep(2)
        expect(scene.a.cli("status").returncode == 0, f"the daemon does not answer after its clock moved by {moved}")
    pings.stop()
    after = [s["id"] for s in scene.a.sas()], re.findall(r"in +([0-9a-f]{8})", scene.a.swanctl("--list-sas").stdout)
    note(f"clock moved by +3 h, -3 h, +400 days: {pings.lost()} of {len(pings.sent)} pings lost")
    expect(before == after, f"the SAs changed: {before}, {after}")
    expect(pings.lost() == 0, f"{pings.lost()} of {len(pings.sent)} pings lost")


@case("peer-name-moves", 120, own=True)
def peer_name_moves(lab):
    """The peer is known by a DNS name; it moves to another address, and the name follows."""
    scene = Scene(lab, start_a="start", dpd="2s", remote_a="peer.example")
    hosts = lab.dir / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.0.2.2 peer.example\n")
    scene.a.privileges = ("unshare", "-m", "sh", "-c", f'mount --make-rprivate / && mount --bind {hosts} /etc/hosts && exec "$@"', "sh")
    scene.run()
    pings = Outage(scene, 90)
    scene.b.kill()
    lab.run("b", "ip addr del 192.0.2.2/24 dev out0; ip addr add 192.0.2.22/24 dev out0; ip route replace default via 192.0.2.254")
    with contextlib.suppress(OSError):
        scene.b.specs[0] = scene.b.specs[0].but(local="192.0.2.22")
    scene.b.write()
    scene.b.start()
    with open(hosts, "r+") as file:                 # the same file: a bind mount does not follow a rename
        file.truncate()
        file.write("127.0.0.1 localhost\n192.0.2.22 peer.example\n")
    pings.over("peer.example became 192.0.2.22")


@case("many-tunnels", 90)
def many_tunnels(lab):
    """Several tunnels of one connection share an IKE_SA."""
    # strongSwan's kernel-libipsec wants one route, and an address of its own, for each tunnel
    numbers = range(3, 9)
    nets = {n: (f"10.{n + 10}.0.0/24", f"10.{n}.0.0/24") for n in numbers}
    scene = Scene(lab, esp="aes256gcm16-x25519", more_a={f"t{n}": nets[n] for n in numbers}, more_b={f"t{n}": nets[n][::-1] for n in numbers})
    for n in numbers:
        lab.run("hb", f"ip addr add 10.{n}.0.10/24 dev lan0")
        lab.run("b", f"ip addr add 10.{n}.0.1/24 dev lan0")
        lab.run("ha", f"ip addr add 10.{n + 10}.0.10/24 dev lan0")
        lab.run("a", f"ip addr add 10.{n + 10}.0.1/24 dev lan0")
    scene.run()
    scene.connect()
    for n in () if scene.a.own else numbers:                    # causeway up means all of them
        answer = scene.a.up(f"t{n}")
        expect(answer.returncode == 0, f"up t{n}: {answer.stdout[-200:]}")
    expect(wait_until(lambda: scene.a.counts() == (1, 7) and scene.b.counts() == (1, 7), 15, 0.2),
           f"not seven CHILD_SAs over one IKE_SA: {scene.a.counts()} here, {scene.b.counts()} at the peer")
    pings = [Pinger(lab, "ha", HA, HB, 0.05)] + [Pinger(lab, "ha", f"10.{n + 10}.0.10", f"10.{n}.0.10", 0.05) for n in numbers]
    time.sleep(3)
    for p in pings:
        p.stop(0.5)
    note(f"7 tunnels over one IKE_SA: {sum(p.lost() for p in pings)} of {sum(len(p.sent) for p in pings)} pings lost")
    expect(not sum(p.lost() for p in pings), "pings lost")
