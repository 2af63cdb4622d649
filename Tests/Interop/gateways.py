"""The two kinds of gateway that the tests put at the ends of a tunnel: causewayd and strongSwan, from one description."""
import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import peers
from lab import SBIN, LabError, wait_until

PSK = "a test's pre-shared key, 0123456789"


def program(name):
    """Path of one of our programs, as `make build` leaves them."""
    directory = Path(os.environ.get("CAUSEWAY_BIN", peers.PROJECT / ".build/release"))
    if not (directory / name).exists():
        raise LabError(f"{directory / name} is not there: run make build")
    return str(directory / name)


@dataclasses.dataclass
class Spec:
    """One connection as one side sees it. `local` and `remote` are outer addresses."""

    local: str
    remote: str
    local_net: str
    remote_net: str
    name: str = "branch"
    local_id: str = ""
    remote_id: str = ""
    psk: str = PSK
    ike: str = "aes256gcm16-prfsha256-x25519"
    esp: str = "aes256gcm16"
    start: str = "passive"          # start | on-demand | passive
    dpd: str = "30s"
    encap: bool = False             # true: ESP in UDP on both sides of the question whether a NAT is there
    raw: bool = False               # causewayd: ESP as protocol 50 where no NAT is
    child_rekey: int = 0            # seconds, 0: the side begins no rekey by itself
    ike_rekey: int = 0
    window: int = 0                 # replay window in packets, 0: the default
    more: dict = dataclasses.field(default_factory=dict)    # further tunnels: name -> (local net, remote net)
    mobike: bool = False            # strongSwan alone has it

    @property
    def tunnels(self):
        return {self.name: (self.local_net, self.remote_net), **self.more}

    def but(self, **changes):
        return dataclasses.replace(self, **changes)


def pair(sites, **changes):
    """(spec of a, spec of b) for the two gateways of a topology; `changes` may name a side: start_a="start"."""
    common = {k: v for k, v in changes.items() if not k.endswith(("_a", "_b"))}
    one = {k[:-2]: v for k, v in changes.items() if k.endswith("_a")}
    other = {k[:-2]: v for k, v in changes.items() if k.endswith("_b")}
    a, b = sites.OUTER["a"], sites.OUTER["b"]
    left = Spec(local=sites.address("a"), remote=b, local_net="10.1.0.0/24", remote_net="10.2.0.0/24", local_id=a, remote_id=b)
    right = Spec(local=sites.address("b"), remote=a, local_net="10.2.0.0/24", remote_net="10.1.0.0/24", local_id=b, remote_id=a)
    return left.but(**{**common, **one}), right.but(**{**common, **other})


def swan_environment(directory):
    """How a program of the unpacked strongSwan is run: a mount namespace in which its files lie over /usr."""
    tree = shlex.quote(str(peers.TREE))
    prologue = (f"mount --make-rprivate / && "
                f"{{ mount -t overlay overlay -o lowerdir={tree}/usr:/usr /usr 2>/dev/null || "
                f"{{ mkdir -p /usr/lib/ipsec && mount --bind {tree}/usr/lib/ipsec /usr/lib/ipsec; }}; }} && mount -t tmpfs tmpfs /run && ")
    return prologue, {"STRONGSWAN_CONF": f"{directory}/strongswan.conf", "SWANCTL_DIR": str(directory), "PATH": SBIN}


def swanctl_command(directory, socket, *arguments):
    """(argv, environment) of stock swanctl against any vici socket."""
    directory.mkdir(exist_ok=True)
    if not (directory / "strongswan.conf").exists():
        (directory / "strongswan.conf").write_text("swanctl {\n  load = random openssl\n}\n")
    prologue, environment = swan_environment(directory)
    # started by its path in the cache, so that an AppArmor profile of an installed strongSwan does not apply
    line = f"{prologue}exec {shlex.quote(str(peers.TREE))}/usr/sbin/swanctl {shlex.join(arguments)} --uri unix://{socket}"
    return ["unshare", "-m", "sh", "-c", line], environment


def swanctl(lab, role, socket, *arguments, timeout=30, directory=None):
    """Stock swanctl against any vici socket: CompletedProcess."""
    argv, environment = swanctl_command(directory or lab.dir / "swanctl", socket, *arguments)
    return lab.call(role, argv, timeout, environment)


def parse_sas(text):
    """[{name, state, local, remote, children: {name: state}, text}] from `swanctl --list-sas`."""
    found = []
    for line in text.splitlines():
        if match := re.match(r"(\S+): #(\d+), (\w+), IKEv2", line):
            found.append({"name": match[1], "id": int(match[2]), "state": match[3], "children": {}, "text": line})
        elif found:
            found[-1]["text"] += "\n" + line
            if match := re.match(r"\s+(\S+): #(\d+), reqid \d+, (\w+)", line):
                found[-1]["children"][match[1]] = match[3]
    return found


def count_sas(text):
    """(IKE_SAs, CHILD_SAs) of `swanctl --list-sas` that are in use: not those that wait for their end after a rekey."""
    ike = len(re.findall(r"^\S+: #\d+, (?:ESTABLISHED|REKEYING), IKEv2", text, re.M))
    return ike, len(re.findall(r"^\s+\S+: #\d+, reqid \d+, (?:INSTALLED|REKEYING)\b", text, re.M))


class GatewayProcess:
    """What both kinds share: one process, a log, a vici socket."""

    process = None

    def __init__(self, lab, role, specs, name):
        self.lab, self.role, self.specs, self.log_name = lab, role, list(specs), f"{name}-{role}.log"
        self.dir = lab.dir / f"{name}-{role}"
        self.dir.mkdir()
        self.socket = self.dir / "vici.sock"

    def swanctl(self, *arguments, timeout=30):
        return swanctl(self.lab, self.role, self.socket, *arguments, timeout=timeout, directory=self.dir)

    def sas(self):
        return parse_sas(self.swanctl("--list-sas").stdout)

    def counts(self):
        return count_sas(self.swanctl("--list-sas").stdout)

    def established(self, name="branch"):
        return any(s["name"] == name and s["state"] == "ESTABLISHED" for s in self.sas())

    def installed(self, name="branch"):
        """The connection has a CHILD_SA that carries traffic."""
        return any(s["name"] == name and s["state"] == "ESTABLISHED" and "INSTALLED" in s["children"].values() for s in self.sas())

    def log(self):
        try:
            return (self.lab.dir / self.log_name).read_text(errors="replace")
        except OSError:
            return ""

    def tail(self, lines=12):
        return "\n".join(self.log().splitlines()[-lines:])

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def spawn(self, argv, environment=None, seconds=15):
        """Start and wait for the vici socket."""
        self.socket.unlink(missing_ok=True)
        self.process = self.lab.spawn(self.role, argv, self.log_name, environment)
        wait_until(lambda: self.socket.exists() or self.process.poll() is not None, seconds)
        if not (self.alive() and self.socket.exists()):
            raise LabError(f"{Path(self.log_name).stem} did not come up: {self.tail(4)}")

    def kill(self):
        """kill -9, as a crash."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)

    def stop(self, seconds=10):
        """SIGTERM; returns the exit status, raises when it does not end."""
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise LabError(f"{Path(self.log_name).stem} still ran {seconds} s after SIGTERM") from None


class Causewayd(GatewayProcess):
    """Our daemon with its configuration, socket and secrets in the lab's directory."""

    own = True
    privileges = ()             # argv in front of the daemon's
    connection_lines = ()       # further keys of each connection
    proof_lines = None          # instead of psk-file
    any_address = False         # no outer address is named: the machine's own are used
    environment = None

    def __init__(self, lab, role, *specs, **gateway):
        super().__init__(lab, role, specs, "causewayd")
        # instance names are unique on a machine, and several tests run at once
        self.gateway = {"name": f"{lab.prefix}-{role}", "interface": "causeway0", **gateway}
        self.config = self.dir / "gateway.yaml"
        self.write()

    def write(self):
        """Write gateway.yaml and the secrets from the specs."""
        (self.dir / "psk").mkdir(exist_ok=True)
        first = self.specs[0]
        out = ["gateway:", *([] if self.any_address else [f"  addresses: [{first.local}]"]), f"  networks: [{', '.join(dict.fromkeys(s.local_net for s in self.specs))}]"]
        out += [f"  {key}: {value}" for key, value in self.gateway.items()]
        out += ["sites:"] + [f"  {s.name}: {{ address: {s.remote}, networks: [{s.remote_net}] }}" for s in self.specs]
        out += ["connections:"]
        for s in self.specs:
            secret = self.dir / "psk" / s.name
            secret.touch(0o600)
            secret.write_text(s.psk)
            out += [f"  {s.name}:", f"    site: {s.name}", f"    start: {s.start}", *(self.proof_lines or [f"    psk-file: psk/{s.name}"]),
                    f"    ike-proposals: [{s.ike}]", f"    esp-proposals: [{s.esp}]", f"    dpd-delay: {s.dpd}",
                    "    retransmit: { initial: 500ms, base: 1.4, tries: 5, limit: 5s }"]
            out += [f'    local-id: "{s.local_id}"'] if s.local_id else []
            out += [f'    remote-id: "{s.remote_id}"'] if s.remote_id else []
            out += ["    encap: true"] if s.encap else ["    encap: false"] if s.raw else []
            # a life much longer than the rekey time: a storm shows what a rekey loses, not what an expiry does
            out += [f"    ike-rekey-time: {s.ike_rekey}s", "    ike-life-time: 3600s", "    ike-rand-time: 0s"] if s.ike_rekey else []
            out += [f"    rekey-time: {s.child_rekey}s", "    life-time: 3600s", "    rand-time: 0s"] if s.child_rekey else []
            out += [f"    replay-window: {s.window}"] if s.window else []
            out += [f"    {line}" for line in self.connection_lines]
            out += ["    tunnels:"] + [f"      {name}: {{ local: [{local}], remote: [{remote}] }}" for name, (local, remote) in s.tunnels.items()]
        self.config.write_text("\n".join(out) + "\n")

    def become_unprivileged(self, user=65534):
        """Run the daemon as the unit file does: another user, with three capabilities."""
        names = ("net_admin", "net_raw", "net_bind_service")
        these = ",".join("+" + n for n in names)
        # udev gives everybody the TUN node; a container may not have it so
        node = ("mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200 "
                '&& exec "$@"')
        self.privileges = ("unshare", "-m", "sh", "-c", node, "sh", "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", f"--inh-caps=-all,{these}",
                           f"--ambient-caps=-all,{these}", f"--bounding-set=-all,{these}", "--no-new-privs")
        self.lab.dir.chmod(0o711)
        for path in (self.dir, *self.dir.rglob("*")):
            os.chown(path, user, user)

    def start(self):
        self.spawn([*self.privileges, program("causewayd"), "--config", str(self.config), "--vici", str(self.socket), "--log-level", "debug"], self.environment)
        if not wait_until(lambda: self.cli("status").returncode == 0, 5, 0.1):
            raise LabError(f"causeway status fails: {self.cli('status').stdout[-300:]}")
        return self

    def cli(self, *arguments, timeout=30):
        """The causeway command on this daemon's socket."""
        return self.lab.call(self.role, [program("causeway"), "--uri", f"unix://{self.socket}", *arguments], timeout)

    def up(self, name="branch", timeout=30):
        return self.cli("up", name, timeout=timeout)

    def down(self, name="branch", timeout=30):
        return self.cli("down", name, timeout=timeout)

    def reload(self):
        """Take over what write() wrote, by SIGHUP."""
        self.process.send_signal(signal.SIGHUP)

    def refusal(self, word, seconds=8):
        """The log line that names `word` and whom it concerns, or None after `seconds`."""
        whom = [s.name for s in self.specs] + [s.remote for s in self.specs]
        return wait_until(lambda: next((x for x in self.log().splitlines() if word in x and any(w in x for w in whom)), None), seconds)


class StrongSwan(GatewayProcess):
    """strongSwan with kernel-libipsec: ESP in userspace, always in UDP, on its own TUN."""

    own = False
    local_lines = remote_lines = ("auth = psk",)
    MORE_PLUGINS = SWANCTL_PLUGINS = ""
    VICI = None                 # where the daemon has its socket, if that is not self.socket
    PLUGINS = ("random nonce openssl pem pkcs1 x509 pubkey constraints aes sha1 sha2 hmac kdf gcm chapoly gmp curve25519 "
               "kernel-libipsec kernel-netlink socket-default vici updown counters")

    @property
    def log_path(self):
        return self.lab.dir / self.log_name

    def __init__(self, lab, role, *specs):
        peers.fetch(quiet=True)
        super().__init__(lab, role, specs, "strongswan")
        # while its own tunnel is away, its answers must not confuse the observer
        for s in specs:
            if s.remote_net != "dynamic":
                lab.run(role, f"ip route replace unreachable {s.remote_net} metric 9999")
        self.write()

    def write(self):
        # `load = random openssl` of swanctl: it needs no more, and starts quickly
        (self.dir / "strongswan.conf").write_text(f"""charon {{
  load = {self.PLUGINS} {self.MORE_PLUGINS}
  retransmit_timeout = 1.0
  retransmit_tries = 4
  retransmit_base = 1.4
  keep_alive = 3s
  plugins {{
    vici {{
      socket = unix://{self.VICI or self.socket}
    }}
    kernel-libipsec {{
      allow_peer_ts = yes
    }}
  }}
  filelog {{
    log {{
      path = {self.log_path}
      append = yes
      default = 1
      cfg = 2
      time_format = %T
      time_add_ms = yes
      flush_line = yes
    }}
  }}
}}
swanctl {{
  load = random openssl {self.SWANCTL_PLUGINS}
}}
""")
        text, nl = "connections {\n", "\n      "
        for s in self.specs:
            action = {"start": "start", "on-demand": "trap", "passive": "none"}[s.start]
            text += f"""  {s.name} {{
    version = 2
    local_addrs = {s.local}
    remote_addrs = {s.remote}
    proposals = {s.ike}
    dpd_delay = {s.dpd}
    encap = {'yes' if s.encap else 'no'}
    mobike = {'yes' if s.mobike else 'no'}
    rekey_time = {s.ike_rekey or 14400}s
    rand_time = 0s
    over_time = 3600s
    local {{
      {nl.join(self.local_lines)}
      id = "{s.local_id}"
    }}
    remote {{
      {nl.join(self.remote_lines)}
      id = "{s.remote_id}"
    }}
    children {{
"""
            for name, (local, remote) in s.tunnels.items():
                text += f"""      {name} {{
        local_ts = {local}
        remote_ts = {remote}
        esp_proposals = {s.esp}
        start_action = {action}
        dpd_action = {"restart" if s.start == "start" else "clear"}
        rekey_time = {s.child_rekey or 3600}s
        life_time = 7200s
        rand_time = 0s
        replay_window = {s.window or 32}
      }}
"""
            text += "    }\n  }\n"
        text += "}\nsecrets {\n"
        for n, s in enumerate(self.specs):
            text += f'  ike-{n} {{\n    id-1 = "{s.local_id}"\n    id-2 = "{s.remote_id}"\n    secret = "{s.psk}"\n  }}\n'
        (self.dir / "swanctl.conf").write_text(text + "}\n")
        (self.dir / "swanctl.conf").chmod(0o600)

    def start(self):
        prologue, environment = swan_environment(self.dir)
        charon = shlex.quote(str(peers.TREE / "usr/lib/ipsec/charon"))
        self.spawn(["unshare", "-m", "sh", "-c", f"{prologue}exec {charon}"], environment)
        self.reload()
        return self

    def reload(self):
        out = self.swanctl("--load-all", "--noprompt", "--file", str(self.dir / "swanctl.conf")).stdout
        if "failed to load" in out or "successfully loaded" not in out:
            raise LabError(f"swanctl --load-all: {out[-500:]}")

    def up(self, name="branch", timeout=30):
        return self.swanctl("--initiate", "--child", name, "--timeout", str(max(1, timeout - 2)), timeout=timeout)

    def down(self, name="branch", timeout=30):
        return self.swanctl("--terminate", "--ike", name, "--timeout", str(max(1, timeout - 2)), timeout=timeout)

    def down_child(self, name="branch"):
        return self.swanctl("--terminate", "--child", name, "--timeout", "5")

    def refusal(self, word, seconds=8):
        return wait_until(lambda: next((x for x in self.log().splitlines() if word in x), None), seconds)


def subject(lab, role, *specs, **gateway):
    """The gateway under test: causewayd, or strongSwan in its place to test the harness (CAUSEWAY_SUBJECT=strongswan)."""
    if os.environ.get("CAUSEWAY_SUBJECT") == "strongswan":
        return StrongSwan(lab, role, *specs)
    return Causewayd(lab, role, *specs, **gateway)


def device_names(lab, role):
    """Names of the role's network devices."""
    return {link["ifname"] for link in json.loads(lab.run(role, "ip -j link"))}
