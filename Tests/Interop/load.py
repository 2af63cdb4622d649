"""What a tunnel carries: several CHILD_SAs side by side, outer fragments in any order, full load for long."""
import os
import re
import threading
import time

from gateways import Causewayd, StrongSwan
from kernel_peer import KernelScene
from lab import LabError, wait_until
from scene import HA, HB, Scene, case, drops, expect, note
from traffic import Pinger, transfer
from wire import ImpairedWire


def transfers(lab, count, octets, seconds=60):
    """So many TCP transfers at once, half of them each way; fails when a digest differs."""
    faults = []

    def one(number):
        ways = (("ha", "hb", HB), ("hb", "ha", HA))
        try:
            transfer(lab, *ways[number % 2], octets=octets, seconds=seconds, port=5600 + number)
        except LabError as e:
            faults.append(str(e))
    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(not faults, f"{len(faults)} of {count} transfers failed: {faults[0] if faults else ''}")


def carried(gateway):
    """{CHILD_SA's name: (packets in, packets out)} as swanctl lists them."""
    found, name = {}, None
    for line in gateway.swanctl("--list-sas").stdout.splitlines():
        if match := re.match(r"\s+(\S+): #\d+, reqid", line):
            name = match[1]
        elif name and (match := re.match(r"\s+(in|out)\s+\S+,\s+\d+ bytes,\s+(\d+) packets", line)):
            found.setdefault(name, []).append(int(match[2]))
    return {name: tuple(both) for name, both in found.items()}


@case("worker-sas", 90, own=True)
def worker_sas(lab):
    """Two workers at each end, a CHILD_SA for each (RFC 9611): both carry traffic, and nothing is lost or damaged."""
    several = {"workers": 2}
    scene = Scene(lab, peer_runs=False, peer=lambda lab, role, spec: Causewayd(lab, role, spec, **several), gateway=several)
    for gateway in (scene.b, scene.a):
        gateway.connection_lines = ("child-sas: 2",)
        gateway.write()
        gateway.start()
    scene.connect()
    expect(wait_until(lambda: scene.a.counts() == (1, 2) and scene.b.counts() == (1, 2), 8, 0.1),
           f"not two CHILD_SAs at each end: {scene.a.counts()} and {scene.b.counts()}")
    transfers(lab, 16, 2_000_000)
    for gateway in (scene.a, scene.b):
        expect(gateway.cli("rekey", "branch", "branch#1").returncode == 0, "branch#1 cannot be rekeyed")
    transfers(lab, 16, 2_000_000)
    time.sleep(1.5)
    for role, gateway in (("a", scene.a), ("b", scene.b)):
        packets = carried(gateway)
        note(f"{role}: " + ", ".join(f"{name} {into} in {out} out" for name, (into, out) in packets.items()))
        expect(set(packets) == {"branch", "branch#1"}, f"CHILD_SAs are {sorted(packets)}")
        expect(all(sum(both) > 100 for both in packets.values()), f"one CHILD_SA of {role} carries next to nothing: {packets}")
        lost = {reason: n for reason, n in drops(gateway).items() if reason not in ("noPolicy", "keepalive")}
        expect(not lost, f"{role} dropped {lost}")


def fragments_case(name, peer, **how):
    @case(name, 60, own=True)
    def run(lab):
        """Outer packets arrive in fragments, each packet's in any order and among those of others."""
        # many packets in one frame would have to be cut into packets first
        single = {"disable-offloads": "[udp-segment]"}
        make = (lambda lab, role, spec: Causewayd(lab, role, spec, **single)) if peer is Causewayd else peer
        scene = Scene(lab, peer=make, gateway=single, **how)
        wire = ImpairedWire(lab, scene.sites)
        scene.run()
        scene.connect()
        wire.tell(cut=500)
        pings = Pinger(lab, "ha", HA, HB, 0.01)
        seconds = transfer(lab, "ha", "hb", HB, octets=2_000_000) + transfer(lab, "hb", "ha", HA, octets=2_000_000)
        pings.stop(1)
        said = wire.tell(cut=0)
        note(f"wire: {said}; 2 MB each way in {seconds:.1f} s, {pings.lost()} of {len(pings.sent)} pings lost")
        expect(int(re.search(r"(\d+) cut", said)[1]) > 2000, "hardly a packet was cut: the test proves nothing")
        expect(pings.lost() == 0, f"{pings.lost()} of {len(pings.sent)} pings lost")
        lost = {reason: n for reason, n in drops(scene.a).items() if reason in ("integrityFailed", "tooShort", "invalidLength", "truncated")}
        expect(not lost, f"dropped {lost}")


fragments_case("outer-fragments-udp", StrongSwan)
fragments_case("outer-fragments-raw", Causewayd, raw=True)


OFFLOADS = ("tun-tcp", "tun-udp", "udp-segment", "udp-gro", "ipsec-mb")


def each_offload(scene):
    """Transfers with all offloads, without each of them, and with none."""
    for off in ((), *((name,) for name in OFFLOADS), OFFLOADS):
        scene.a.gateway.pop("disable-offloads", None)
        if off:
            scene.a.gateway["disable-offloads"] = f"[{', '.join(off)}]"
        scene.a.write()
        scene.a.start()
        shown = re.search(r"data plane: (.*?)(?:, without .*)?$", scene.a.cli("status").stdout, re.M)[1].split()
        expect(not set(off) & set(shown), f"in use although turned off: {set(off) & set(shown)}")
        scene.connect()
        scene.expect_traffic(10)
        transfers(scene.lab, 2, 4_000_000)
        lost = {reason: n for reason, n in drops(scene.a).items() if reason in ("integrityFailed", "malformedInner", "offloadUnsupported", "badChecksumRequest")}
        expect(not lost, f"without {off or 'nothing'}: dropped {lost}")
        scene.a.stop()
    note(f"4 MB each way {len(OFFLOADS) + 2} times")


@case("offloads-each", 120, own=True)
def offloads_each(lab):
    each_offload(Scene(lab))


@case("offloads-kernel-peer", 180, own=True)
def offloads_kernel_peer(lab):
    each_offload(KernelScene(lab))


def resident(gateway):
    """KiB of memory in use."""
    with open(f"/proc/{gateway.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])


ENDURANCE = int(os.environ.get("CAUSEWAY_ENDURANCE_SECONDS", 300))


@case("full-load", ENDURANCE + 90, own=True, long=True)
def full_load(lab):
    """As much as goes, both ways, while a CHILD_SA is replaced every 5 s: no octet is wrong, memory does not grow."""
    scene = Scene(lab, peer=Causewayd, start_a="start", esp="aes256gcm16-x25519", child_rekey_a=5, ike_rekey_a=61)
    scene.run()
    scene.expect_traffic(15)
    began, rounds, sizes = time.monotonic(), 0, []
    pings = Pinger(lab, "ha", HA, HB, 0.05)
    while time.monotonic() - began < ENDURANCE:
        transfers(lab, 4, 100_000_000, seconds=120)
        rounds += 1
        sizes.append([resident(scene.a), resident(scene.b)])
    pings.stop(2)
    rekeys = len(re.findall(r"CHILD_SA \S+ rekeyed:", scene.a.log()))
    # a fifth of the time is enough for every page of the arenas to be used once
    first, last = sizes[len(sizes) // 5], sizes[-1]
    gigabytes, seconds = rounds * 0.4, time.monotonic() - began
    note(f"{gigabytes:.0f} GB in {seconds:.0f} s ({gigabytes * 8 / seconds:.2f} Gbit/s, Python at the ends), {rekeys} CHILD rekeys, "
         f"{pings.lost()} of {len(pings.sent)} pings lost, RSS {first} -> {last} KiB")
    expect(rekeys > ENDURANCE / 5 * 0.8, f"only {rekeys} rekeys")
    expect(all(end - start < 2048 for start, end in zip(first, last)), f"memory grew from {first} to {last} KiB")
    wrong = {reason: n for gateway in (scene.a, scene.b) for reason, n in drops(gateway).items() if reason in ("integrityFailed", "replayed", "sealFailed")}
    expect(not wrong, f"dropped {wrong}")
