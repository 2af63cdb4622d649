"""The interop cases of one tunnel. Each is a function of a `Lab`; it raises `Failure` with one line that says what was wrong."""
import contextlib
import json
import os
import random
import re
import socket
import struct
import time

import gateways
from gateways import Causewayd, device_names, pair
from lab import socket_in, wait_until
from scene import HA, HB, Scene, case, expect, last_line
from traffic import DatagramSink, Forger, Observer, Pinger, ping, transfer, udp_packet, wait_for_ping

SUITES = {
    "gcm-x25519": ("aes256gcm16-prfsha256-x25519", "aes256gcm16"),
    "cbc-modp2048": ("aes256-sha256-modp2048", "aes256-sha256"),
    "chacha-ecp256": ("chacha20poly1305-prfsha256-ecp256", "chacha20poly1305"),
}
INJECTED = "injected from outside"


# Algorithms and roles

def suite_case(suite, role):
    ike, esp = SUITES[suite]

    @case(f"{role}-{suite}", 90)
    def run(lab):
        scene = Scene(lab, ike=ike, esp=esp).run().connect(role)
        scene.expect_pings()
        for sender, receiver, address in (("ha", "hb", HB), ("hb", "ha", HA)):
            transfer(lab, sender, receiver, address, 20_000_000, 30)
        scene.expect_pings(5)
        scene.expect_no_clear()
        expect(scene.observer.kinds["esp-in-udp"] > 1000, "no ESP seen on the outer wire: " + scene.observer.summary())


for _suite in SUITES:
    for _role in ("initiator", "responder"):
        suite_case(_suite, _role)


# Identities

def identity_case(name, id_a, id_b):
    @case(f"identity-{name}")
    def run(lab):
        scene = Scene(lab, local_id_a=id_a, remote_id_a=id_b, local_id_b=id_b, remote_id_b=id_a).run().connect("initiator")
        scene.expect_pings(5)
        expect(scene.a.down().returncode == 0, "down was refused")
        expect(wait_until(lambda: not scene.b.sas(), 5), "the peer still has the IKE_SA after down")
        scene.connect("responder").expect_pings(5)


identity_case("fqdn", "hq.example", "branch.example")
identity_case("ipv4", "198.51.100.1", "198.51.100.2")
identity_case("ipv6", "2001:db8::1", "2001:db8::2")
identity_case("email", "hq@example.org", "branch@example.org")
identity_case("key-id", "@#0102aabb", "@#c0ffee")


# NAT

@case("nat-initiator")
def nat_initiator(lab):
    scene = Scene(lab, nat="a")
    if scene.a.own:
        # whatever we send keeps the mapping open and puts off the keepalive: for once, nothing else is sent
        scene.a.connection_lines = ("path-mtu-discovery: false", "pfs-preflight: false")
        scene.a.write()
    scene.run().connect("initiator")
    scene.expect_pings()
    transfer(lab, "hb", "ha", HA, 5_000_000, 30)
    inside = Observer(lab, "out0", "a")
    ports = {struct.unpack_from("!HH", f.data, 34) for f in scene.observer.frames if f.kind == "esp-in-udp" and not f.outgoing}
    expect(ports and all(20000 <= source <= 60000 and target == 4500 for source, target in ports), f"ESP left with the ports {ports}")
    # silence: our side has to keep the mapping open (RFC 3948 4), by default every 20 s
    seen = wait_until(lambda: any(f.kind == "keepalive" and f.outgoing for f in inside.frames), 28, 0.3)
    inside.stop()
    expect(seen, "no keepalive left our gateway in 28 s of silence")
    scene.expect_pings(5)
    scene.expect_no_clear()


@case("nat-responder")
def nat_responder(lab):
    scene = Scene(lab, nat="b")
    scene.a.specs[0] = scene.a.specs[0].but(remote="any" if scene.a.own else "%any")
    scene.a.write()
    scene.run().connect("responder").expect_pings()
    transfer(lab, "ha", "hb", HB, 5_000_000, 30)
    scene.expect_no_clear()


@case("encap")
def forced_encapsulation(lab):
    scene = Scene(lab, encap_a=True).run().connect("initiator")
    scene.expect_pings(5)
    expect(scene.observer.kinds["esp-in-udp"] and not scene.observer.kinds["esp"], "not ESP in UDP: " + scene.observer.summary())


# Negotiation

def esp_headers(lab, seconds, body):
    """(Type of service, length) of the UDP datagrams that gateway a sent to port 4500 while `body` ran, IKE aside."""
    sniffer = socket_in(lab.space("a"), socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    sniffer.settimeout(0.2)
    body()
    headers, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            frame, address = sniffer.recvfrom(4096)
        except TimeoutError:
            break
        packet = frame[14:]
        if address[2] == 4 and packet[:1] == b"\x45" and packet[9] == 17 and packet[22:24] == struct.pack("!H", 4500) and packet[28:32] != bytes(4):
            headers.append((packet[1], len(packet)))
    sniffer.close()
    return headers


@case("tfc-padding")
def traffic_flow_padding(lab):
    """Long and short packets look alike outside (RFC 4303 §2.7), and strongSwan takes the padding off."""
    scene = Scene(lab)
    scene.a.connection_lines = ("tfc-padding: mtu", "path-mtu-discovery: false", "pfs-preflight: false")
    scene.a.write()
    scene.run().connect()

    def pings():
        for size in (0, 100, 1000):
            answer = lab.call("ha", ["ping", "-c4", "-i0.05", "-W2", "-s", str(size), HB]).stdout
            expect(" 0% packet loss" in answer, f"pings of {size} octets: {answer[-200:]}")

    sizes = [length for _, length in esp_headers(lab, 2, pings)]
    expect(len(sizes) >= 12 and len(set(sizes)) == 1 and 1480 < sizes[0] <= 1500, f"ESP packets of {sorted(set(sizes))} octets")
    scene.expect_pings(5)


@case("header-copying")
def header_copying(lab):
    """DSCP, ECN and DF between inner and outer headers, as the connection says (RFC 4301 §5.1.2, §8.1)."""
    scene = Scene(lab, peer=Causewayd, peer_runs=False)

    def ping(*options):
        return lab.call("ha", ["ping", "-c3", "-i0.05", "-W2", *options, HB]).stdout

    def run(*lines):
        for gateway in (scene.a, scene.b):
            gateway.connection_lines = (*lines, "path-mtu-discovery: false", "pfs-preflight: false")
            gateway.write()
            gateway.start()
        scene.connect()
        marks = {mark for mark, _ in esp_headers(lab, 1, lambda: ping("-Q", "0xba"))}
        for host in ("ha", "hb"):
            lab.run(host, "ip route flush cache")           # what an earlier run taught them
        large = ping("-M", "do", "-s", "1472")
        for gateway in (scene.a, scene.b):
            gateway.stop()
        return marks, large

    marks, large = run()
    expect(marks == {0xba}, f"by default the outer headers have {marks}")
    expect("100% packet loss" in large and re.search(r"mtu ?[=:] ?1\d{3}", large), f"by default 1,500 octets with DF: {large}")
    marks, large = run("copy-dscp: no", "copy-ecn: false", "copy-df: false")
    expect(marks == {0}, f"the outer headers have {marks} without copies")
    expect(" 0% packet loss" in large, f"1,500 octets with DF, not copied: {large}")
    marks, _ = run("copy-dscp: in")
    expect(marks == {2}, f"the outer headers have {marks} with ECN alone")


@case("invalid-ke-as-initiator")
def invalid_ke_initiator(lab):
    scene = Scene(lab, ike_a="aes256gcm16-prfsha256-x25519-ecp256", ike_b="aes256gcm16-prfsha256-ecp256").run().connect("initiator")
    expect("ECP_256" in scene.b.sas()[0]["text"], "the group is not the one that the peer wants")
    scene.expect_pings(5)


@case("invalid-ke-as-responder")
def invalid_ke_responder(lab):
    scene = Scene(lab, ike_b="aes256gcm16-prfsha256-x25519-ecp256", ike_a="aes256gcm16-prfsha256-ecp256").run().connect("responder")
    expect("ECP_256" in scene.b.sas()[0]["text"], "the group is not the one that we want")
    scene.expect_pings(5)


def refusal_case(name, role, word, also=(), **changes):
    """Both ends differ in one thing: no CHILD_SA, and one line of our log names it."""
    @case(f"{name}-as-{role}", own=True)
    def run(lab):
        scene = Scene(lab, **changes).run()
        answer = (scene.a if role == "initiator" else scene.b).up(timeout=12)
        expect(answer.returncode != 0, "the tunnel came up")
        if role == "initiator":
            expect(answer.returncode == 1, f"causeway up ended with {answer.returncode}, not 1")
        line = scene.a.refusal(word)
        expect(line, f"no log line with {word}; last: {last_line(scene.a.log())}")
        for pattern in also:
            expect(re.search(pattern, line), f"the line does not say {pattern!r}: {line[-200:]}")
        expect(not scene.a.installed(), "a CHILD_SA is installed all the same")
        expect(scene.a.alive(), "the daemon ended")


for _role in ("initiator", "responder"):
    refusal_case("wrong-psk", _role, "AUTHENTICATION_FAILED", psk_b="another key")
    refusal_case("no-common-ike-proposal", _role, "NO_PROPOSAL_CHOSEN", ike_b="aes128-sha256-modp2048", ike_a="aes256gcm16-prfsha384-ecp384")
    refusal_case("no-common-esp-proposal", _role, "NO_PROPOSAL_CHOSEN", esp_b="aes128-sha256")
    refusal_case("ts-mismatch", _role, "TS_UNACCEPTABLE", local_net_b="10.2.128.0/24", remote_net_b="10.1.128.0/24")
refusal_case("wrong-remote-id", "initiator", "AUTHENTICATION_FAILED", also=["other.example"], remote_id_a="other.example")
refusal_case("wrong-remote-id", "responder", "AUTHENTICATION_FAILED", local_id_b="other.example")


# Crashes

@case("peer-killed", 120)
def peer_killed(lab):
    scene = Scene(lab, start_a="start", dpd="2s", dpd_b="2s").run()
    scene.expect_traffic(15)
    scene.b.kill()
    time.sleep(1)
    scene.b.start()
    scene.expect_traffic(60)
    scene.expect_no_clear()


@case("own-killed", 120, own=True)
def own_killed(lab):
    scene = Scene(lab, start_a="start", dpd_b="2s").run()
    scene.expect_traffic(15)
    scene.a.kill()
    time.sleep(1)
    scene.run()
    scene.expect_traffic(60)
    scene.expect_no_clear()


@case("no-leak", 120, own=True)
def no_leak(lab):
    scene = Scene(lab, start_a="start", dpd_b="2s")
    control = Pinger(lab, "ha", HA, HB)
    expect(wait_until(lambda: scene.observer.clear_from_gateway, 3), "the observer does not see what leaves in clear: the test proves nothing")
    control.stop(0)
    scene.run()
    scene.expect_traffic(15)
    time.sleep(0.3)
    scene.observer.clear_from_gateway = 0
    pings = Pinger(lab, "ha", HA, HB, 0.02)
    time.sleep(1)
    expect(scene.a.down().returncode == 0, "down was refused")
    time.sleep(2)
    scene.expect_no_clear()
    expect(scene.a.up().returncode == 0, "up was refused")
    time.sleep(1)
    scene.a.kill()
    time.sleep(3)
    scene.expect_no_clear()
    scene.run()
    expect(wait_until(lambda: pings.first_answer(time.monotonic() - 1) is not None, 60, 0.2), "no traffic 60 s after the restart")
    scene.b.kill()
    time.sleep(4)
    pings.stop(0)
    scene.expect_no_clear()
    expect(len(pings.sent) > 200, "too few pings were sent to prove anything")


@case("forged-clear", own=True)
def forged_clear(lab):
    scene = Scene(lab).run()
    mac = scene.sites.mac("a", "out0")
    sink, forger = DatagramSink(lab, "ha", HA, 7777), Forger(lab)

    def attempt():
        for n in range(20):
            for source in (HB, "10.2.0.1", "10.2.0.200"):
                forger.send(mac, udp_packet(source, HA, 1000 + n, 7777, INJECTED.encode()))
        time.sleep(0.5)
        return sink.payloads[INJECTED.encode()]
    # from elsewhere it goes through: the path works
    forger.send(mac, udp_packet("203.0.113.9", HA, 999, 7777, b"control"))
    expect(wait_until(lambda: sink.payloads[b"control"], 3), "an ordinary packet is not forwarded either: the test proves nothing")
    expect(attempt() == 0, "forged clear packets were forwarded while the tunnel was down")
    scene.connect()
    expect(attempt() == 0, "forged clear packets were forwarded while the tunnel was up")
    scene.expect_pings(5)
    scene.a.kill()
    expect(attempt() == 0, "forged clear packets were forwarded after kill -9")
    sink.stop()


# Start modes

@case("start-on-demand", own=True)
def start_on_demand(lab):
    scene = Scene(lab, start_a="on-demand").run()
    time.sleep(1)
    expect(not scene.a.established(), "the tunnel is up without a packet")
    sent, lost = ping(lab, "ha", HA, HB, 10, 0.2, 3)
    expect(lost == 0, f"{lost} of {sent} pings lost, the first ones should have waited")
    expect(scene.a.installed(), "no CHILD_SA")
    scene.expect_no_clear()


@case("start-passive", own=True)
def start_passive(lab):
    scene = Scene(lab, start_a="passive").run()
    sent, lost = ping(lab, "ha", HA, HB, 10, 0.1, 0.5)
    expect(lost == sent and not scene.a.established(), "a passive connection was initiated")
    scene.connect("responder").expect_pings(5)
    scene.expect_no_clear()


@case("start-at-once")
def start_at_once(lab):
    scene = Scene(lab, start_a="start").run()
    expect(wait_until(scene.a.installed, 10, 0.1), "not up by itself within 10 s")
    scene.expect_pings(5)


@case("peer-deletes-child", 90)
def peer_deletes_child(lab):
    scene = Scene(lab, start_a="start").run()
    expect(wait_until(lambda: scene.a.installed() and scene.b.installed(), 10, 0.1), "not up within 10 s")
    old = re.search(r"in +([0-9a-f]{8})", scene.a.sas()[0]["text"])[1]
    expect(scene.b.down_child().returncode == 0, "swanctl --terminate --child failed")
    expect(wait_until(lambda: old not in scene.a.swanctl("--list-sas").stdout, 5, 0.1), "the CHILD_SA that the peer deleted is still listed")
    if scene.a.own:
        scene.expect_traffic(30)
        expect(scene.a.installed(), "not up again")


@case("peer-deletes-ike")
def peer_deletes_ike(lab):
    scene = Scene(lab).run().connect()
    scene.expect_pings(3)
    expect(scene.b.down().returncode == 0, "swanctl --terminate --ike failed")
    expect(wait_until(lambda: not scene.a.sas(), 5, 0.1), "the IKE_SA that the peer deleted is still listed")
    scene.connect().expect_pings(3)


def rekey_case(name, **changes):
    @case(f"peer-rekeys-{name}")
    def peer_rekeys(lab):
        """The peer rekeys the CHILD_SA and the IKE_SA under traffic; one of each is left on both sides."""
        scene = Scene(lab, **changes).run().connect()
        pings = Pinger(lab, "ha", HA, HB, 0.02)
        time.sleep(0.3)
        spis = set()
        for what in ("child", "ike", "child", "ike"):
            answer = scene.b.swanctl("--rekey", f"--{what}", "branch")
            expect(answer.returncode == 0, f"swanctl --rekey --{what}: {last_line(answer.stdout)}")
            time.sleep(1.2)
            expect(wait_until(lambda: all(len(x.sas()) == 1 for x in (scene.a, scene.b)), 8, 0.1), f"not one IKE_SA on both sides after rekeying the {what}")
            expect(wait_until(lambda: scene.a.swanctl("--list-sas").stdout.count("INSTALLED") == 1, 8, 0.1), f"not one CHILD_SA after rekeying the {what}")
            spis.add(re.search(r"in +([0-9a-f]{8})", scene.a.swanctl("--list-sas").stdout)[1])
        pings.stop()
        expect(len(spis) == 2, f"{len(spis)} inbound SPIs seen for two CHILD rekeys")
        expect(pings.lost() <= 2, f"{pings.lost()} of {len(pings.sent)} pings lost")


rekey_case("without-pfs")
rekey_case("with-pfs", esp="aes256gcm16-x25519")


@case("down-tells-peer")
def down_tells_peer(lab):
    scene = Scene(lab).run().connect()
    expect(scene.a.down().returncode == 0, "down was refused")
    expect(wait_until(lambda: not scene.b.sas(), 5, 0.1), "the peer still has the IKE_SA after down")
    expect(not scene.a.sas(), "we still have it")


# Configuration and life cycle

@case("reload-adds-connection", 90)
def reload_adds(lab):
    scene = Scene(lab).run().connect()
    lab.run("b", "ip addr add 10.3.0.1/24 dev lan0; ip addr add 192.0.2.3/24 dev out0")
    one, other = pair(scene.sites, name="second")
    one = one.but(remote="192.0.2.3", remote_id="192.0.2.3", remote_net="10.3.0.0/24")
    other = other.but(local="192.0.2.3", local_id="192.0.2.3", local_net="10.3.0.0/24")
    scene.b.specs.append(other)
    scene.b.write()
    scene.b.reload()
    before = scene.a.sas()[0]["text"].splitlines()[0]
    pings = Pinger(lab, "ha", HA, HB, 0.02)
    time.sleep(0.3)
    scene.a.specs.append(one)
    scene.a.write()
    scene.a.reload()
    expect(wait_until(lambda: "second" in scene.a.swanctl("--list-conns").stdout, 5, 0.1), "the new connection is not listed")
    answer = scene.a.up("second")
    expect(answer.returncode == 0, f"up second: {last_line(answer.stdout)}")
    pings.stop()
    expect(pings.lost() == 0, f"{pings.lost()} pings of the old tunnel were lost by the reload")
    expect(before.split()[1] in " ".join(s["text"] for s in scene.a.sas()), "the old IKE_SA was replaced")
    expect(wait_for_ping(lab, "ha", HA, "10.3.0.1", 5) is not None, "no traffic in the new tunnel")


@case("bad-config-keeps-running", own=True)
def bad_config(lab):
    scene = Scene(lab).run().connect()
    good = scene.a.config.read_text()
    line = next(n for n, x in enumerate(good.splitlines(), 1) if "dpd-delay" in x)
    for bad, where in (("    dpd-delai: 3s", line), ("    dpd-delay: soon", line)):
        text = good.splitlines()
        text[line - 1] = bad
        scene.a.config.write_text("\n".join(text) + "\n")
        check = scene.a.cli("check", str(scene.a.config))
        expect(check.returncode == 1, f"causeway check ended with {check.returncode}, not 1")
        expect(f"gateway.yaml:{where}" in check.stdout, f"causeway check does not name line {where}: {last_line(check.stdout)}")
        expect(scene.a.cli("reload").returncode == 1, "causeway reload of a bad file did not end with 1")
        scene.a.reload()
        expect(wait_until(lambda: f"gateway.yaml:{where}" in scene.a.log(), 3), "the log does not name file and line")
        expect(scene.a.alive(), "the daemon ended")
        scene.expect_pings(3)
    broken = lab.dir / "broken.yaml"
    broken.write_text(good.replace("sites:", "sights:"))
    run = lab.call("a", [gateways.program("causewayd"), "--config", str(broken), "--vici", str(lab.dir / "broken.sock")], 10)
    expect(run.returncode not in (0, 124), "a second daemon with a bad file did not refuse to start")
    expect("broken.yaml:" in run.stdout and "sights" in run.stdout, f"the refusal does not name file and key: {last_line(run.stdout)}")


@case("world-readable-secret", own=True)
def world_readable_secret(lab):
    scene = Scene(lab, peer_runs=False)
    (scene.a.dir / "psk" / "branch").chmod(0o644)
    check = scene.a.cli("check", str(scene.a.config))
    expect(check.returncode == 1 and "gateway.yaml:" in check.stdout and "psk" in check.stdout, f"not refused: {last_line(check.stdout)}")
    run = lab.call("a", [gateways.program("causewayd"), "--config", str(scene.a.config), "--vici", str(scene.a.socket)], 10)
    expect(run.returncode not in (0, 124), "the daemon started with a secret that all can read")


@case("sigterm-takes-all-back", own=True)
def sigterm(lab):
    lab.space("a")
    scene = Scene(lab)

    def state():
        return {"rules": lab.run("a", "ip rule; ip -6 rule"), "routes": lab.run("a", "ip route show table all | sort; ip -6 route show table all | grep -v fe80 | sort"),
                "devices": device_names(lab, "a"), "nftables": lab.run("a", "nft list ruleset")}
    before = state()
    scene.run().connect()
    scene.expect_pings(3)
    during = state()
    for what in ("rules", "routes", "devices", "nftables"):
        expect(during[what] != before[what], f"{what} did not change while it ran: the test proves nothing")
    status = scene.a.stop()
    expect(status == 0, f"exit status {status} after SIGTERM")
    after = state()
    for what in before:
        expect(after[what] == before[what], f"{what} differ after SIGTERM: {set(str(after[what]).split(chr(10))) ^ set(str(before[what]).split(chr(10)))}")
    expect(wait_until(lambda: not scene.b.sas(), 5), "the peer still has the IKE_SA")
    expect(not scene.a.socket.exists(), "the vici socket is left behind")


@case("systemd-notify", own=True)
def systemd_notify(lab):
    """READY=1 once the gateway works, WATCHDOG=1 in time, RELOADING and READY around a reload, STOPPING=1 at the end."""
    scene = Scene(lab, peer_runs=False)
    path = str(lab.dir / "notify.sock")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    listener.settimeout(0.2)
    said = []

    def heard(word):
        with contextlib.suppress(TimeoutError):
            said.extend(listener.recv(4096).decode().splitlines())
        return word in said

    scene.a.environment = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": "3000000"}
    scene.run()
    for word in ("READY=1", "WATCHDOG=1"):
        expect(wait_until(lambda: heard(word), 8, 0.05), f"no {word}: {said}")
    said.clear()
    scene.a.reload()
    for word in ("RELOADING=1", "READY=1"):
        expect(wait_until(lambda: heard(word), 5, 0.05), f"no {word} around a reload: {said}")
    expect(scene.a.stop() == 0, "no orderly end")
    expect(wait_until(lambda: heard("STOPPING=1"), 3, 0.05), f"no STOPPING=1: {said}")


@case("stock-swanctl")
def stock_swanctl(lab):
    scene = Scene(lab).run().connect()
    expect("branch" in scene.a.swanctl("--list-conns").stdout, "--list-conns does not show the connection")
    sas = scene.a.swanctl("--list-sas").stdout
    expect("ESTABLISHED" in sas and "INSTALLED" in sas and "10.2.0.0/24" in sas, f"--list-sas: {sas[-200:]}")
    daemon = "charon" if not scene.a.own else "causewayd"
    for options, word in ((["--stats"], "uptime"), (["--version", "--daemon"], daemon)):
        answer = scene.a.swanctl(*options)
        expect(answer.returncode == 0 and word in answer.stdout.lower(), f"{options}: {last_line(answer.stdout)}")
    if scene.a.own:
        expect(scene.a.swanctl("--terminate", "--ike", "branch").returncode == 0, "swanctl --terminate failed")
        expect(scene.a.swanctl("--initiate", "--child", "branch").returncode == 0, "swanctl --initiate failed")
        scene.expect_pings(3)
        status = scene.a.cli("status")
        expect(status.returncode == 0 and "branch" in status.stdout, f"causeway status: {last_line(status.stdout)}")
        nobody = lab.call("a", [gateways.program("causeway"), "--uri", "unix:///nonexistent/vici.sock", "status"])
        expect(nobody.returncode == 2, f"causeway status without a daemon ended with {nobody.returncode}, not 2")
        expect(scene.a.cli("up", "no-such").returncode == 1, "causeway up of an unknown connection did not end with 1")
        for words, code in ((["down", "branch"], 0), (["up", "branch"], 0), (["up", "no-such"], 1), (["reload"], 0)):
            answer = scene.a.cli(*words, "--json")
            said = json.loads(answer.stdout)
            expect(answer.returncode == code and said["success"] == (code == 0), f"causeway {' '.join(words)} --json: {answer.stdout}")
        expect(json.loads(scene.a.cli("status", "--json").stdout), "causeway status --json is empty")


@case("unprivileged", own=True)
def unprivileged(lab):
    """Three capabilities are enough, as the unit file says."""
    scene = Scene(lab)
    before = device_names(lab, "a")
    scene.a.become_unprivileged()
    scene.run().connect()
    scene.expect_pings(5)
    status = lab.run("a", f"grep -E '^(Uid|CapEff)' /proc/{scene.a.process.pid}/status").split()
    expect(status[1] == "65534" and int(status[-1], 16).bit_count() == 3, f"it runs with {status}")
    expect("table inet causeway" in lab.run("a", "nft list tables"), "no packet filter: " + last_line(scene.a.log()))
    expect(scene.a.stop() == 0, f"exit status after SIGTERM: {last_line(scene.a.log())}")
    expect(device_names(lab, "a") == before and "causeway" not in lab.run("a", "nft list tables"), "something is left behind")


# Hostile packets

@case("replayed-esp")
def replayed_esp(lab):
    scene = Scene(lab).run().connect()
    sink = DatagramSink(lab, "ha", HA, 7777)
    out = socket_in(lab.space("hb"), socket.AF_INET, socket.SOCK_DGRAM)
    payloads = [b"datagram %d" % n for n in range(50)]
    for payload in payloads:
        out.sendto(payload, (HA, 7777))
    expect(wait_until(lambda: len(sink.payloads) == 50, 5), f"only {len(sink.payloads)} of 50 datagrams arrived")
    captured = [f.data for f in scene.observer.frames if f.kind == "esp-in-udp" and f.outgoing]
    expect(len(captured) >= 50, "the observer captured too little")
    forger = Forger(lab)
    for frame in captured:
        forger.resend(frame)
    # with one bit changed they must not pass either
    for frame in captured:
        forger.resend(frame[:-1] + bytes([frame[-1] ^ 1]))
    time.sleep(0.7)
    twice = {p: n for p, n in sink.stop().items() if n != 1}
    expect(not twice, f"{len(twice)} datagrams were delivered twice")
    scene.expect_pings(5)


@case("malformed-datagrams")
def malformed(lab):
    scene = Scene(lab, peer_runs=False)
    scene.b.start()
    scene.run().connect()
    random.seed(1)
    mac, forger = scene.sites.mac("a", "out0"), Forger(lab)
    init = next(f.data[42:] for f in scene.observer.frames if f.kind == "ike" and len(f.data) > 200)
    spis = [bytes.fromhex(x) for x in re.findall(r"\b([0-9a-f]{16})_[ir]", scene.a.sas()[0]["text"])]
    spi = bytes.fromhex(re.search(r"in +([0-9a-f]{8})", scene.a.sas()[0]["text"])[1])
    sent = 0
    for port in (500, 4500):
        marker = bytes(4) if port == 4500 else b""
        bodies = [b"", b"\0", b"\xff", b"\xff" * 3, bytes(28), bytes(1400), marker + init[:27], marker + init[:-1], marker + init + b"x"]
        bodies += [marker + init[:n] for n in range(0, len(init), 7)]
        bodies += [marker + init[:at] + bytes([random.randrange(256)]) + init[at + 1:] for at in range(len(init))]
        bodies += [marker + b"".join(spis) + bytes([46, 0x20, code, 0x08]) + struct.pack("!II", n, 28 + n) + random.randbytes(n)
                   for code in (34, 35, 36, 37, 255) for n in (0, 1, 4, 16, 200)]
        bodies += [spi + struct.pack("!I", n) + random.randbytes(n % 97) for n in range(100)] if port == 4500 else []
        for source in ("192.0.2.2", "198.51.100.7"):
            for body in bodies:
                forger.send(mac, udp_packet(source, "192.0.2.1", port, port, body))
                sent += 1
                if sent % 100 == 0:
                    time.sleep(0.01)
    time.sleep(1)
    expect(scene.a.alive(), f"the daemon ended after {sent} malformed datagrams: {last_line(scene.a.log())}")
    expect(scene.a.installed(), "the CHILD_SA is gone")
    scene.expect_pings(5)
    if scene.a.own:
        status = scene.a.cli("status", "--json").stdout
        counted = sum(int(n) for n in re.findall(r'"[a-z0-9._ -]*"\s*:\s*"?(\d+)"?', status[status.find("drops"):])) if "drops" in status else 0
        expect(counted >= 100, f"{sent} malformed datagrams, {counted} counted as dropped")
    scene.a.down()
    scene.connect().expect_pings(3)


@case("wrong-inner-source")
def wrong_inner_source(lab):
    """What the peer sends through its tunnel outside the selectors is not delivered (RFC 4301 5.2)."""
    scene = Scene(lab)
    # the peer may send from 10.2.0.0/16 as it thinks; we agreed on 10.2.0.0/24
    scene.run().connect()
    sink = DatagramSink(lab, "ha", HA, 7777)
    out = socket_in(lab.space("b"), socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    lab.run("b", "ip route replace 10.1.0.10/32 dev ipsec0")
    out.sendto(udp_packet("10.2.0.77", HA, 1, 7777, b"inside"), (HA, 0))
    expect(wait_until(lambda: sink.payloads[b"inside"], 3), "a packet within the selectors was not delivered")
    for source in ("10.2.1.1", "203.0.113.5", "10.1.0.77"):
        out.sendto(udp_packet(source, HA, 1, 7777, b"outside"), (HA, 0))
    time.sleep(0.7)
    expect(sink.stop()[b"outside"] == 0, "a packet with a source outside the selectors was delivered")


@case("self-contained", own=True)
def outside_untouched(lab):
    """Ordinary traffic of the gateway and its hosts to elsewhere does not enter a tunnel and is not hurt."""
    scene = Scene(lab).run().connect()
    lab.run("net", "ip route add 10.1.0.0/24 via 192.0.2.1")
    sent, lost = ping(lab, "a", "192.0.2.1", "192.0.2.254", 5)
    expect(lost == 0, f"{lost} of {sent} pings from the gateway to its router lost")
    sent, lost = ping(lab, "a", "192.0.2.1", "192.0.2.2", 5)
    expect(lost == 0, f"{lost} of {sent} pings between the outer addresses lost")
    sent, lost = ping(lab, "ha", HA, "192.0.2.254", 5)
    expect(lost == 0, f"{lost} of {sent} pings of a host to the Internet lost")
