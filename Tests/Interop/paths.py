"""What becomes of the way between two gateways: NAT mappings that move, links that carry less, with and without word of it."""
import re
import socket
import struct
import time

from gateways import Causewayd, StrongSwan
from lab import TwoSites, socket_in, wait_until
from scene import HA, HB, LONG, Scene, case, drops, expect, note
from traffic import DatagramSink, Pinger, transfer
from wire import ImpairedWire

MEGABYTE = 1_000_000


# NAT mappings that move

def forget_mappings(lab, role="nat"):
    """Empty the connection table of a namespace: the next packet of each flow gets a mapping of its own."""
    netlink = socket_in(lab.space(role), socket.AF_NETLINK, socket.SOCK_RAW, 12)        # NETLINK_NETFILTER
    # nlmsghdr: IPCTNL_MSG_CT_DELETE of ctnetlink, NLM_F_REQUEST | NLM_F_ACK; nfgenmsg of no family means all
    netlink.sendto(struct.pack("=IHHIIBBH", 20, (1 << 8) | 2, 5, 1, 0, 0, 0, 0), (0, 0))
    answer = netlink.recv(4096)
    netlink.close()
    error = struct.unpack_from("=i", answer, 16)[0]
    expect(error == 0, f"the connection table cannot be emptied: errno {-error}")


def outer_sources(scene, since):
    """Addresses and ports from which the NAT's side sent ESP since a moment."""
    side = scene.sites.nat
    want = socket.inet_aton(scene.sites.OUTER[side])[:3]
    found = set()
    for f in list(scene.observer.frames):
        if f.time < since or f.kind != "esp-in-udp" or f.data[26:29] != want:
            continue
        if f.outgoing == (side == "b"):
            found.add((socket.inet_ntoa(f.data[26:30]), struct.unpack_from("!H", f.data, 34)[0]))
    return found


def nat_rebind_case(name, behind, peer, sender, **how):
    """`behind` stands behind the NAT; `sender` sends the pings that shall come back by themselves."""
    own = peer is Causewayd or behind == "a"

    @case(name, 90, own=own)
    def run(lab):
        changes = {"start_" + behind: "start", "dpd_" + behind: "2s", "dpd_" + ("a" if behind == "b" else "b"): "10s"}
        scene = Scene(lab, nat=behind, peer=peer, peer_runs=False, **changes)
        far = scene.a if behind == "b" else scene.b
        far.specs[0] = far.specs[0].but(remote="any" if far.own else "%any")
        far.write()
        if behind == "a":
            scene.b.start()
            scene.run()
        else:
            scene.run()
            scene.b.start()
        scene.expect_traffic(20)
        source, target = (HA, HB) if sender == "ha" else (HB, HA)
        pings = Pinger(lab, sender, source, target, 0.01)
        time.sleep(2)
        before = outer_sources(scene, 0)
        moment = time.monotonic()
        if how.get("address"):
            lab.run("nat", f"ip addr del {scene.sites.OUTER[behind]}/24 dev out0; ip addr add {how['address']}/24 dev out0; "
                           "ip route replace default via 192.0.2.254")
        forget_mappings(lab)
        back = wait_until(lambda: pings.first_answer(moment + 0.02), 45, 0.1)
        time.sleep(2)
        pings.stop()
        after = outer_sources(scene, time.monotonic() - 2.5)
        expect(back is not None, f"no traffic 45 s after the mapping moved from {before} to {after}")
        expect(after and not after & before, f"the mapping did not move: {before}, {after}")
        note(f"{sorted(before)[0][0]}:{sorted(before)[0][1]} became {sorted(after)[0][0]}:{sorted(after)[0][1]}: "
             f"back after {back * 1000:.0f} ms, {pings.lost()} of {len(pings.sent)} pings lost")
        expect(pings.lost(time.monotonic() - 3) == 0 or not pings.lost(moment + back + 0.5), "pings are lost after the traffic came back")
        for gateway in (scene.a, scene.b):
            expect(len(gateway.sas()) == 1, f"{len(gateway.sas())} IKE_SAs after the move")


nat_rebind_case("nat-rebind-peer-inside", "b", StrongSwan, "hb")
nat_rebind_case("nat-rebind-peer-outside", "b", StrongSwan, "ha")
nat_rebind_case("nat-rebind-peer-new-address", "b", StrongSwan, "hb", address="192.0.2.77")
nat_rebind_case("nat-rebind-ours-inside", "a", Causewayd, "ha")
nat_rebind_case("nat-rebind-ours-outside", "a", Causewayd, "hb")


# Links that carry less

class NarrowPath(TwoSites):
    """Between the bridge and gateway b: two routers, and between these a link that carries 1300 octets."""

    OUTER = {"a": "192.0.2.1", "b": "198.51.100.2"}
    MTU = 1300

    def __init__(self, lab, tells):
        super().__init__(lab)
        if not tells:
            for role in ("near", "far"):
                lab.run(role, ["nft", "table ip quiet { chain out { type filter hook output priority 0; ip protocol icmp drop; }; }"])

    def _outer(self, side):
        if side == "a":
            super()._outer(side)
            self.lab.run("a", "ip route add 198.51.100.0/24 via 192.0.2.3")
            return
        lab = self.lab
        lab.wire("near", "out0", "net", "pb")
        lab.wire("near", "narrow0", "far", "narrow0")
        lab.wire("far", "in0", "b", "out0")
        lab.run("net", "ip link set pb master br0")
        for role, rest in (("near", "ip addr add 192.0.2.3/24 dev out0; ip addr add 172.17.0.1/30 dev narrow0; ip route add 198.51.100.0/24 via 172.17.0.2"),
                           ("far", "ip addr add 172.17.0.2/30 dev narrow0; ip addr add 198.51.100.1/24 dev in0; ip route add 192.0.2.0/24 via 172.17.0.1")):
            lab.run(role, f"{rest}; ip link set narrow0 mtu {self.MTU}; sysctl -qw net.ipv4.ip_forward=1")
        lab.run("b", "ip addr add 198.51.100.2/24 dev out0; ip route add default via 198.51.100.1")


def path_mtu(gateway):
    """(MTU of the path, of what fits inside) as `causeway status` says them; None before they are known."""
    match = re.search(r"MTU (\d+) \(path (\d+)\)", gateway.cli("status").stdout)
    return (int(match[2]), int(match[1])) if match else None


def mtu_case(name, tells, peer):
    @case(name, 400 if LONG else 150, own=True)
    def run(lab):
        octets = (100 if LONG else 10) * MEGABYTE
        scene = Scene(lab, sites=NarrowPath(lab, tells), peer=peer, start_a="start").run()
        scene.expect_traffic(20)
        # at once, before anything has been learnt, and both ways
        first = transfer(lab, "ha", "hb", HB, octets, 100)
        back = transfer(lab, "hb", "ha", HA, octets, 100)
        known = wait_until(lambda: (m := path_mtu(scene.a)) and m[0] > NarrowPath.MTU - 8 and m, 40, 0.5)
        again = transfer(lab, "ha", "hb", HB, octets, 100)
        note(f"{octets // MEGABYTE} MB in {first:.1f} s at once, {back:.1f} s back, {again:.1f} s once the path is known: "
             f"path {known and known[0]}, inside {known and known[1]}")
        expect(known and known[0] <= NarrowPath.MTU, f"the path carries {NarrowPath.MTU}, causeway status shows: "
               + " ".join(x.strip() for x in scene.a.cli("status").stdout.splitlines() if "MTU" in x))
        # a full inner packet that may not be fragmented gets through, one octet more is answered by its size
        def ping(size):
            lab.run("ha", "ip route flush cache")               # it remembers what the search said before it was done
            return lab.call("ha", ["ping", "-c2", "-i0.3", "-W2", "-M", "do", "-s", str(size - 28), HB]).stdout

        # what a router said is known before the search has confirmed it, and on its way the search says less
        expect(wait_until(lambda: " 0% packet loss" in ping(known[1]), 20, 1), f"an inner packet of {known[1]} octets is lost: {ping(known[1]).splitlines()[-2:]}")
        answer = ping(known[1] + 1)
        expect(f"mtu = {known[1]}" in answer.replace("mtu=", "mtu = "), f"an inner packet of {known[1] + 1} octets is not answered by the MTU: {answer[-300:]}")


for _peer, _suffix in ((StrongSwan, ""), (Causewayd, "-ours")):
    mtu_case("mtu-ptb" + _suffix, True, _peer)
    mtu_case("mtu-blackhole" + _suffix, False, _peer)


@case("mtu-shrinks", 900, own=True, long=True)
def mtu_shrinks(lab):
    """The link becomes narrower in the middle of a transfer, and nobody says so."""
    sites = NarrowPath(lab, False)
    for role in ("near", "far"):
        lab.run(role, "ip link set narrow0 mtu 1500")
    scene = Scene(lab, sites=sites, start_a="start").run()
    scene.expect_traffic(20)
    expect(wait_until(lambda: (m := path_mtu(scene.a)) and m[0] == 1500, 40, 0.5), f"the path of 1500 octets is not found: {path_mtu(scene.a)}")
    for role in ("near", "far"):
        lab.run(role, f"ip link set narrow0 mtu {sites.MTU}")
    started = time.monotonic()
    seconds = transfer(lab, "ha", "hb", HB, 10 * MEGABYTE, 800)
    known = wait_until(lambda: (m := path_mtu(scene.a)) and m[0] <= sites.MTU and m, 60, 0.5)
    note(f"10 MB over a link that had just become narrower in {seconds:.1f} s; path {known and known[0]} known after {time.monotonic() - started:.1f} s")
    expect(known, f"not found: {path_mtu(scene.a)}")




# Packets that arrive late

@case("replay-window", 60, own=True)
def replay_window(lab):
    """Packets that others overtook are delivered as far back as the configured window reaches, and dropped as too old beyond."""
    arrived, late = {}, {}
    scene = Scene(lab, start_a="start", window_a=32)
    wire = ImpairedWire(lab, scene.sites)
    for window in (32, 1024):
        scene.a.specs[0] = scene.a.specs[0].but(window=window)
        scene.a.write()
        scene.run()
        scene.expect_traffic(20)
        sink = DatagramSink(lab, "ha", HA, 7777)
        out = socket_in(lab.space("hb"), socket.AF_INET, socket.SOCK_DGRAM)
        before = drops(scene.a)
        wire.tell(reorder=0.1)
        started, count = time.monotonic(), 3000
        for n in range(count):
            out.sendto(b"%d" % n, (HA, 7777))
            time.sleep(max(0, started + n / 1500 - time.monotonic()))
        time.sleep(0.5)
        said = wire.tell(reorder=0)
        arrived[window] = len(sink.stop())
        wait_until(lambda: sum(drops(scene.a).values()) - sum(before.values()) >= count - arrived[window], 4, 0.2)       # they are told once a second
        late[window] = {k: v - before.get(k, 0) for k, v in drops(scene.a).items() if v != before.get(k, 0)}
        note(f"window {window}: {arrived[window]} of {count} datagrams arrived, drops {late[window] or 'none'}")
        expect(scene.a.stop() == 0, "no orderly end")
    expect(arrived[1024] == 3000, f"{3000 - arrived[1024]} of 3000 late datagrams lost with a window of 1024 packets ({said})")
    expect(arrived[32] < 3000, "nothing was later than 32 packets: the test proves nothing")
    expect(sum(late[32].values()) == 3000 - arrived[32], f"{3000 - arrived[32]} datagrams lost, counted are {late[32]}")
