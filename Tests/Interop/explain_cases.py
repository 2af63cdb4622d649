"""What only our vici has: transcripts, captures, paths, drops, a summary; and every command and event of the protocol once."""
import json
import re
import stat
import struct
import subprocess
import time

from gateways import program
from lab import wait_until
from scene import Scene, case, expect, last_line, note
from vici_cases import Loaded, scene_of_loaded
from vici_client import Client, ViciError, decode

# what is wrong on our side, what the line that mends it holds, and the word for the cause
MISTAKES = {
    "proposal": ({"ike": "aes128-sha256-modp2048"}, "ike-proposals:", "peer-NO_PROPOSAL_CHOSEN"),
    "key": ({"psk": "another key"}, "psk-file:", "peer-AUTHENTICATION_FAILED"),
    "identity": ({"remote_id": "other.example"}, "remote-id:", "peer-AUTHENTICATION_FAILED"),
    "selectors": ({"local_net": "10.7.0.0/24", "remote_net": "10.8.0.0/24"}, "local:", "peer-TS_UNACCEPTABLE"),
    "esp-proposal": ({"esp": "aes128-sha256"}, "esp-proposals:", "peer-NO_PROPOSAL_CHOSEN"),
}


@case("explain", 120, own=True)
def explain(lab):
    """Five mistakes: each is explained message by message with the line that mends it, and mending it brings the tunnel up."""
    scene = Scene(lab, start_a="passive").run()
    a, right = scene.a, scene.a.specs[0]
    for name, (change, key, reason) in MISTAKES.items():
        a.specs = [right.but(**change)]
        a.write()
        a.reload()
        time.sleep(0.3)
        expect(a.up(timeout=15).returncode == 1, f"{name}: the tunnel came up")
        asked = time.monotonic()
        last = json.loads(a.cli("explain", "branch", "--json", "--last", "1").stdout)["conversations"][0]
        expect(time.monotonic() - asked < 1, "explain took more than a second")
        expect(last.get("reason") == reason, f"{name}: reason {last.get('reason')}, {last.get('cause')}")
        line = re.search(r"gateway\.yaml:(\d+)", last["cause"])
        expect(line, f"{name}: no line in {last['cause']!r}")
        shown = a.config.read_text().splitlines()[int(line[1]) - 1]
        lines = [int(n) for n in re.findall(r"gateway\.yaml:(\d+)", last["cause"])]
        expect(any(key in a.config.read_text().splitlines()[n - 1] for n in lines), f"{name}: line {line[1]} is {shown!r}, not that of {key}: {last['cause']!r}")
        told = [entry.get("message", "") for entry in last["lines"].values()]
        expect(told[0] == "IKE_SA_INIT request 0" and "IKE_SA_INIT response 0" in told, f"{name}: messages {told}")
        text = a.cli("explain", "branch").stdout
        expect("→ IKE_SA_INIT request 0 [SA(IKE:" in re.sub(r"\n +", " ", text), f"{name}: {text[:400]!r}")
        expect(all(len(x) <= 80 for x in text.splitlines() if x.startswith(" ")), "a line of explain is longer than 80 columns")
        expect(right.psk not in text and "another key" not in text, "a key is shown")
        a.specs = [right]
        a.write()
        a.reload()
        time.sleep(0.3)
        expect(a.up(timeout=15).returncode == 0, f"{name}: mended, it does not come up: {a.cli('explain', 'branch').stdout[-400:]}")
        scene.expect_pings(2)
        expect(a.down().returncode == 0, "down was refused")
    # whom no connection fits is no connection's matter
    scene.b.specs = [scene.b.specs[0]]
    lab.run("b", "ip addr add 192.0.2.77/24 dev out0")
    lab.call("b", ["python3", "-c", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('192.0.2.77', 5500)); "
                   f"s.sendto(bytes.fromhex('{stranger()}'), ('192.0.2.1', 500))"])
    told = wait_until(lambda: (t := a.cli("explain").stdout) and "192.0.2.77" in t and t, 5, 0.2)
    expect(told and "NO_PROPOSAL_CHOSEN" in told, f"a stranger's request is not told: {told!r}")
    expect("192.0.2.77" in a.cli("explain", "192.0.2.77").stdout, "explain by address")
    expect(a.cli("explain", "nobody").returncode == 1, "explain of what is not there")


def stranger():
    """An IKE_SA_INIT request of somebody."""
    transforms = b"".join(struct.pack("!BBHBBH", 3 if i < 2 else 0, 0, 8 if t != 1 else 12, t, 0, n) + (struct.pack("!HH", 0x800e, 256) if t == 1 else b"")
                          for i, (t, n) in enumerate([(1, 20), (2, 5), (4, 31)]))
    proposal = struct.pack("!BBHBBBB", 0, 0, 8 + len(transforms), 1, 1, 0, 3) + transforms
    body = struct.pack("!BBH", 34, 0, 4 + len(proposal)) + proposal
    body += struct.pack("!BBHHH", 40, 0, 40, 31, 0) + bytes(range(1, 33))
    body += struct.pack("!BBH", 0, 0, 36) + bytes(32)
    return (struct.pack("!QQBBBBII", 77, 0, 33, 0x20, 34, 8, 0, 28 + len(body)) + body).hex()


def pcapng(data):
    """[(IP packet, comment)] of a capture."""
    at, found = 0, []
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        expect(length % 4 == 0 and struct.unpack_from("<I", data, at + length - 4)[0] == length, f"block of {length} octets at {at}")
        if kind == 6:
            size = struct.unpack_from("<I", data, at + 20)[0]
            packet, options = data[at + 28:at + 28 + size], at + 28 + size + -size % 4
            code, octets = struct.unpack_from("<HH", data, options) if options < at + length - 4 else (0, 0)
            found.append((packet, data[options + 4:options + 4 + octets].decode() if code == 1 else ""))
        at += length
    return found


@case("capture", 60, own=True)
def capture(lab):
    """IKE messages go into a file of the user's, each with what is inside; a slow or gone reader costs nothing."""
    scene = Scene(lab, start_a="passive").run()
    file = lab.dir / "ike.pcapng"
    command = [program("causeway"), "--uri", f"unix://{scene.a.socket}", "capture", "--connection", "branch"]
    process = lab.spawn("a", [*command, "--packets", "5", str(file)], "capture.txt")
    time.sleep(0.5)
    expect(scene.a.up().returncode == 0, "the tunnel did not come up")
    expect(scene.a.cli("rekey", "branch").returncode == 0, "rekey was refused")
    expect(wait_until(lambda: process.poll() is not None, 8), "the capture did not end after 5 packets")
    expect(process.returncode == 0, f"capture: exit {process.returncode}")
    expect(stat.S_IMODE(file.stat().st_mode) == 0o600, "others may read the capture")
    packets = pcapng(file.read_bytes())
    expect(len(packets) == 5, f"{len(packets)} packets")
    comments = [comment for _, comment in packets]
    expect(comments[0].startswith("IKE_SA_INIT request 0 (branch): SA(IKE:"), f"comment {comments[0]!r}")
    expect(any("IKE_AUTH request 1" in c and "IDi(" in c and "AUTH(PSK)" in c for c in comments), f"no IKE_AUTH with its contents: {comments}")
    for packet, comment in packets:
        expect(packet[0] == 0x45 and packet[9] == 17 and struct.unpack_from("!H", packet, 2)[0] == len(packet), f"no UDP packet: {packet[:20].hex()}")
        expect(packet[12:20] in (bytes([192, 0, 2, 1, 192, 0, 2, 2]), bytes([192, 0, 2, 2, 192, 0, 2, 1])), "addresses")
        expect(len({sum(struct.unpack("!10H", packet[:20])) % 0xffff}) == 1 and sum(struct.unpack("!10H", packet[:20])) % 0xffff == 0, "the header's checksum")
    # one that ends by its time, into a pipe
    done = subprocess.run([*command, "--seconds", "1", "-"], capture_output=True, timeout=20)
    expect(done.returncode == 0 and done.stdout[:4] == bytes.fromhex("0a0d0d0a"), f"into a pipe: exit {done.returncode}, {done.stdout[:8].hex()}")
    # its client is killed: the daemon lets go of the file
    process = lab.spawn("a", [*command, str(lab.dir / "more.pcapng")], "capture2.txt")
    held = lambda: subprocess.run(["ls", "-l", f"/proc/{scene.a.process.pid}/fd"], capture_output=True, text=True).stdout.count("more.pcapng")    # noqa: E731
    expect(wait_until(held, 5), "the daemon did not get the file")
    process.kill()
    expect(wait_until(lambda: not held(), 5), "the daemon holds the file of a client that is gone")
    with Client(scene.a.socket) as client:
        answer = client.call("capture")
        expect("no descriptor" in answer.get("errmsg", ""), f"capture without a descriptor: {answer}")
    scene.expect_pings(2)


@case("vici-more", 60, own=True)
def more(lab):
    """Re-authentication by command, what a start_action began and its end, paths, drops and the summary."""
    scene = scene_of_loaded(lab, start_a="start")
    a = scene.a
    expect(wait_until(lambda: a.installed() and scene.b.installed(), 10), "start_action did not bring the tunnel up")
    before = a.sas()[0]
    with Client(a.socket) as client:
        paths = []
        client.register("list-path")
        client.call("list-paths", heard=lambda _, body: paths.append(decode(body)))
        path = next(iter(paths[0].values()))
        expect(path["path-remote"] == "192.0.2.2[4500]" and path["state"] == "INSTALLED" and path["encapsulation"] == "udp", f"list-paths: {paths}")
        drops = client.call("get-drops", {"all": "yes"})["drops"]
        expect("ike-malformed" in drops and len(drops) > 10, f"get-drops: {drops}")
        summary = client.call("summary")
        expect(summary["connections"] == {"total": "1", "up": "1"} and summary["tunnels"]["up"] == "1", f"summary: {summary}")
        answer = client.request("rekey", {"ike": "branch", "reauth": "yes"})
        expect(answer["matches"] == "1", f"rekey reauth: {answer}")
        expect(wait_until(lambda: len(a.sas()) == 1 and a.sas()[0]["id"] != before["id"] and a.installed(), 10), f"no new IKE_SA: {a.sas()}")
        scene.expect_pings(3)
        # the same definition leaves it alone, another one begins anew, none ends it
        again = a.sas()[0]
        a.reload()
        expect(a.sas()[0]["id"] == again["id"], "--load-all of the same file ended the IKE_SA")
        a.specs = [a.specs[0].but(dpd="9s")]
        a.write()
        a.reload()
        expect(wait_until(lambda: len(a.sas()) == 1 and a.sas()[0]["id"] != again["id"] and a.installed(), 10), f"not begun anew: {a.sas()}")
        scene.expect_pings(3)
        client.request("unload-conn", {"name": "branch"})
        expect(wait_until(lambda: not a.sas() and not scene.b.sas(), 8), "what start_action began outlives its definition")
    scene.expect_no_clear()


EVENTS = ("log", "control-log", "list-sa", "list-policy", "list-conn", "list-cert", "list-authority", "ike-updown", "ike-rekey", "ike-update", "child-updown",
          "child-rekey", "alert", "conversation", "list-path")


@case("vici-commands", 60, own=True)
def commands(lab):
    """Every command and every event of the protocol, by themselves."""
    scene = scene_of_loaded(lab)
    a, heard, answered = scene.a, [], {}
    pem = lambda *words: subprocess.run(["openssl", *words], capture_output=True, check=True, cwd=lab.dir).stdout      # noqa: E731
    pem("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=moon", "-keyout", "key.pem", "-out", "cert.pem", "-days", "30")
    key, cert = (lab.dir / "key.pem").read_bytes(), (lab.dir / "cert.pem").read_bytes()
    with Client(a.socket) as client:
        for event in EVENTS:
            client.register(event)
        try:
            client.register("no-such-event")
            expect(False, "an event that there is not was confirmed")
        except ViciError:
            pass

        def ask(command, message=None, success=None, refused=None):
            answer = client.call(command, message, lambda name, body: heard.append((name, body)))
            answered[command] = answer
            expect(success is None or answer.get("success") == "yes", f"{command}: {answer}")
            expect(refused is None or (answer.get("success") == "no" and refused in answer["errmsg"]), f"{command}: {answer}")
            return answer

        expect(ask("version")["daemon"] == "causewayd", "version")
        expect(list(ask("stats")) == ["uptime", "workers", "queues", "scheduled", "ikesas", "plugins", "causeway"], f"stats: {list(answered['stats'])}")
        ask("reload-settings", success=True)
        expect(ask("get-conns")["conns"] == ["branch"], "get-conns")
        ask("list-conns")
        ask("initiate", {"child": "branch", "timeout": 10000, "loglevel": 1}, success=True)
        ask("list-sas")
        ask("rekey", {"child": "branch"}, success=True)
        expect(wait_until(lambda: a.counts() == (1, 1), 5), "no end of the CHILD_SA's rekey")
        ask("rekey", {"ike": "branch"}, success=True)
        expect(wait_until(lambda: a.counts() == (1, 1), 5), "no end of the IKE_SA's rekey")
        ask("install", {"child": "branch"}, success=True)
        ask("list-policies", {"trap": "yes"})
        ask("uninstall", {"child": "branch"}, success=True)
        ask("redirect", {"ike": "branch", "gateway": "not@a.gateway"}, refused="unsupported gateway identity")
        ask("list-paths")
        ask("explain", {"connection": "branch"}, success=True)
        ask("get-drops")
        ask("summary")
        ask("capture", refused="no descriptor")
        expect("" in ask("get-counters")["counters"], "get-counters")
        ask("reset-counters", success=True)
        expect(set(ask("get-algorithms")) >= {"encryption", "aead", "prf", "dh"}, f"get-algorithms: {list(answered['get-algorithms'])}")
        ask("terminate", {"ike": "branch", "timeout": 5000}, success=True)
        ask("load-shared", {"id": "key", "type": "ike", "data": "a key of some length", "owners": ["moon"]}, success=True)
        expect("key" in ask("get-shared")["keys"], "get-shared")
        ask("unload-shared", {"id": "key"}, success=True)
        identifier = ask("load-key", {"type": "any", "data": key}, success=True)["id"]
        expect(ask("get-keys")["keys"] == [identifier], "get-keys")
        ask("unload-key", {"id": identifier}, success=True)
        ask("load-cert", {"type": "x509", "flag": "ca", "data": cert}, success=True)
        ask("list-certs", {"type": "any"})
        ask("load-authority", {"ours": {"cacert": cert, "crl_uris": ["http://192.0.2.99/ca.crl"]}}, success=True)
        ask("list-authorities")
        expect(ask("get-authorities")["authorities"] == ["ours"], "get-authorities")
        ask("unload-authority", {"name": "ours"}, success=True)
        ask("flush-certs", success=True)
        ask("load-pool", {"rw": {"addrs": "10.9.0.0/24", "dns": ["10.9.0.1"]}}, success=True)
        expect(ask("get-pools")["rw"]["size"] == "254", f"get-pools: {answered['get-pools']}")
        ask("unload-pool", {"name": "rw"}, success=True)
        ask("load-token", {"handle": "01", "module": "x"}, refused="not supported")
        ask("clear-creds", success=True)
        # without its key the peer does not believe us: an alert
        ask("initiate", {"child": "branch", "timeout": 8000}, refused="establishing CHILD_SA 'branch' failed")
        ask("load-conn", {"other": {"version": "2", "remote_addrs": ["192.0.2.2"], "local": {"auth": "psk"}, "remote": {"auth": "psk"},
                                    "children": {"net": {"mode": "transport"}}}}, refused="children.net.mode = transport: not supported yet")
        ask("load-conn", {"other": {"version": "2", "remote_addrs": ["192.0.2.2"], "local": {"auth": "psk"}, "remote": {"auth": "psk"}}}, success=True)
        ask("unload-conn", {"name": "other"}, success=True)
        try:
            client.call("no-such-command", None, lambda *_: None)
            expect(False, "a command that there is not was answered")
        except ViciError:
            pass
    names = {name for name, _ in heard}
    missing = set(EVENTS) - names - {"ike-update"}              # that one is a roaming peer's, see roaming.py
    expect(not missing, f"events that nobody heard: {sorted(missing)}")
    note(f"{len(answered)} commands, {len(names)} events")
    expect(a.alive(), f"the daemon ended: {last_line(a.log())}")


@case("explain-pfs", 60, own=True)
def explain_pfs(lab):
    """PFS groups that differ, which nothing negotiates until the first rekey: its failure names the line that mends it."""
    scene = Scene(lab, esp_a="aes256gcm16-modp2048", esp_b="aes256gcm16-ecp384").run()
    a = scene.a
    scene.connect("initiator").expect_pings(2)
    a.cli("rekey", "branch", "branch")
    line = wait_until(lambda: next((x for x in a.log().splitlines() if "PFS differs" in x), None), 5, 0.2)
    expect(line and "MODP_2048" in line, f"no word of PFS: {a.tail()}")
    numbers = [int(n) for n in re.findall(r"gateway\.yaml:(\d+)", line)]
    shown = a.config.read_text().splitlines()
    expect(any("esp-proposals:" in shown[n - 1] for n in numbers), f"no line of esp-proposals in {line!r}")
    told = json.loads(a.cli("explain", "branch", "--json").stdout)["conversations"]
    expect(any("PFS differs" in json.dumps(c) for c in told), f"explain does not tell: {json.dumps(told)[-600:]}")
    a.specs = [a.specs[0].but(esp="aes256gcm16-ecp384")]
    a.write()
    a.reload()
    time.sleep(0.3)
    scene.connect("initiator")
    a.cli("rekey", "branch", "branch")
    expect(wait_until(lambda: "rekeyed" in a.log(), 5, 0.2), f"mended, the rekey still fails: {a.tail()}")
    scene.expect_pings(2)
