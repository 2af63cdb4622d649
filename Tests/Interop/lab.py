"""Network namespaces, wires and processes for the demo and the interop tests; everything vanishes when its `Lab` closes.

        ha ---------- a ============ net ============ b ---------- hb
    10.1.0.10   10.1.0.1  192.0.2.1 (bridge) 192.0.2.2  10.2.0.1   10.2.0.10

`net` is the hostile Internet: a bridge whose ports are observed and from which packets are forged.  Both gateways have their
default route there (192.0.2.254), so whatever escapes protection is seen.  A NAT can stand between a gateway and the bridge.
"""
import atexit
import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import socket

SBIN = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


NAT_RULES = """
table ip cwnat {
  chain post {
    type nat hook postrouting priority 100
    oifname "out0" meta l4proto { tcp, udp } masquerade to :20000-60000 fully-random
    oifname "out0" masquerade
  }
  chain forwarding {
    type filter hook forward priority 0
    iifname "out0" ct state new drop
  }
}
"""


class LabError(Exception):
    """Something that the test did not ask for went wrong in the laboratory itself."""


def sh(argv, check=True, timeout=30, env=None, **kw):
    """stdout of a command (a list, or a shell line)."""
    argv = argv if isinstance(argv, list) else ["sh", "-ec", argv]
    r = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, errors="replace",
                       env={**os.environ, "PATH": SBIN, **(env or {})}, **kw)
    if check and r.returncode:
        raise LabError(f"{shlex.join(argv)[:200]}: exit {r.returncode}: {(r.stderr or r.stdout).strip()[-300:]}")
    return r.stdout


def wait_until(condition, seconds, step=0.05):
    """The condition's first true value, or None after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            return None
        time.sleep(step)


def socket_in(space, *arguments):
    """A socket that lives in the named namespace, usable from this one's threads."""
    box = []

    def make():
        try:
            descriptor = os.open(f"/run/netns/{space}", os.O_RDONLY)
            try:
                if LIBC.setns(descriptor, CLONE_NEWNET):        # moves this short-lived thread only
                    raise OSError(ctypes.get_errno(), "setns")
                box.append(socket.socket(*arguments))
            finally:
                os.close(descriptor)
        except OSError as e:
            box.append(e)
    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(box[0], OSError):
        raise LabError(f"socket in {space}: {box[0]}")
    return box[0]


def end_pids(pids, grace=3.0):
    """SIGTERM, a bounded wait, SIGKILL; these process ids only."""
    def alive(pid):
        with contextlib.suppress(OSError, IndexError):
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        living = [p for p in pids if p > 1 and alive(p)]
        for pid in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        wait_until(lambda: not any(alive(p) for p in living), grace, 0.02)


class Lab:
    """Namespaces cwPID-ROLE, processes in them, one private directory."""

    def __init__(self, keep=False):
        if os.geteuid() != 0:
            raise LabError("root is needed: the tests make network namespaces")
        self.keep, self.spaces, self.processes, self.closers = keep, {}, [], []
        # a kept lab outlives its process: another prefix, so that nobody takes it for an orphan
        self.prefix = f"{'cwkept' if keep else 'cw'}{os.getpid()}"
        self.dir = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        atexit.register(self.close)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda n, _f: sys.exit(128 + n))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.keep = False
        if not self.keep:
            self.close()

    def space(self, role):
        """The namespace's name; made at the first call."""
        if role not in self.spaces:
            name = f"{self.prefix}-{role}"
            sh(["ip", "netns", "add", name])
            self.spaces[role] = name
            self.run(role, "ip link set lo up; sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 "
                           "net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.accept_dad=0 net.ipv4.icmp_ratelimit=0")
        return self.spaces[role]

    def wire(self, left, left_device, right, right_device):
        """A veth pair between two roles, both ends up."""
        sh(["ip", "link", "add", left_device, "netns", self.space(left), "type", "veth",
            "peer", "name", right_device, "netns", self.space(right)])
        for role, device in ((left, left_device), (right, right_device)):
            self.run(role, f"ip link set {device} up")

    def argv(self, role, command, guard=True):
        """`command` inside the role's namespace; it dies with this process unless the lab is kept."""
        command = command if isinstance(command, list) else ["sh", "-ec", command]
        guarded = ["setpriv", "--pdeathsig", "KILL"] if guard and not self.keep else []
        return ["ip", "netns", "exec", self.space(role), *guarded, *command]

    def run(self, role, command, check=True, timeout=30, **kw):
        return sh(self.argv(role, command), check, timeout, **kw)

    def call(self, role, argv, timeout=30, env=None):
        """CompletedProcess with stdout and stderr in one text; exit 124 when it takes too long."""
        try:
            return subprocess.run(self.argv(role, argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  text=True, errors="replace", timeout=timeout, env={**os.environ, "PATH": SBIN, **(env or {})})
        except subprocess.TimeoutExpired as e:
            return subprocess.CompletedProcess(argv, 124, (e.stdout or b"").decode(errors="replace") + f"\nnot done after {timeout} s")

    def spawn(self, role, argv, log, env=None):
        """Start a process; its output is appended to the file `log` of the lab's directory."""
        with open(self.dir / log, "ab") as out:
            process = subprocess.Popen(self.argv(role, argv), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                       env={**os.environ, "PATH": SBIN, **(env or {})}, start_new_session=True)
        self.processes.append(process)
        return process

    def close(self):
        """End processes by id, remove namespaces and files; safe to call twice."""
        if self.keep or not (self.spaces or self.dir.exists()):
            return
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)               # clean-up must not be cut short
        for closer in self.closers:
            with contextlib.suppress(Exception):
                closer()
        pids = [p.pid for p in self.processes if p.poll() is None]
        for name in self.spaces.values():
            pids += [int(x) for x in sh(["ip", "netns", "pids", name], check=False).split()]
        end_pids([p for p in dict.fromkeys(pids) if p != os.getpid()])
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2)
        for name in self.spaces.values():
            sh(["ip", "netns", "del", name], check=False)
        self.spaces, self.processes, self.closers = {}, [], []
        if logs := os.environ.get("CAUSEWAY_LAB_LOGS"):
            with contextlib.suppress(OSError):
                shutil.copytree(self.dir, logs, dirs_exist_ok=True, ignore=lambda d, names: [n for n in names if "psk" in n or "vici" in n])
        shutil.rmtree(self.dir, ignore_errors=True)


def remove_spaces(prefix):
    """Remove the namespaces PREFIX-ROLE that a killed run left behind, and what still runs in them."""
    for line in sh(["ip", "netns", "list"], check=False).splitlines():
        name = line.split()[0] if line.split() else ""
        if name.startswith(prefix + "-"):
            end_pids([int(x) for x in sh(["ip", "netns", "pids", name], check=False).split()], 1)
            sh(["ip", "netns", "del", name], check=False)


def remove_orphans():
    """Remove namespaces cwPID-ROLE whose process is gone."""
    for line in sh(["ip", "netns", "list"], check=False).splitlines():
        match = re.match(r"(cw(\d+))-[a-z]+\b", line)
        if match and not os.path.exists(f"/proc/{match.group(2)}"):
            remove_spaces(match.group(1))


class TwoSites:
    """The topology at the top of this file. `nat` is None, "a" or "b": the gateway that stands behind a NAT."""

    OUTER = {"a": "192.0.2.1", "b": "192.0.2.2"}
    INSIDE_NAT = "172.16.0.2"
    HOST = {"a": "10.1.0.10", "b": "10.2.0.10"}

    def __init__(self, lab, nat=None):
        self.lab, self.nat = lab, nat
        lab.space("net")
        lab.run("net", "ip link add br0 type bridge; ip addr add 192.0.2.254/24 dev br0; ip link set br0 up")
        for side, net in (("a", "10.1.0"), ("b", "10.2.0")):
            lab.wire(f"h{side}", "lan0", side, "lan0")
            lab.run(f"h{side}", f"ip addr add {net}.10/24 dev lan0; ip route add default via {net}.1")
            lab.run(side, f"ip addr add {net}.1/24 dev lan0; sysctl -qw net.ipv4.ip_forward=1")
            self._outer(side)

    def address(self, side):
        """The gateway's own outer address."""
        return self.INSIDE_NAT if side == self.nat else self.OUTER[side]

    def _outer(self, side):
        if side != self.nat:
            self.lab.wire(side, "out0", "net", f"p{side}")
            self.lab.run(side, f"ip addr add {self.OUTER[side]}/24 dev out0; ip route add default via 192.0.2.254")
        else:
            self.lab.wire(side, "out0", "nat", "in0")
            self.lab.wire("nat", "out0", "net", f"p{side}")
            self.lab.run(side, f"ip addr add {self.INSIDE_NAT}/24 dev out0; ip route add default via 172.16.0.1")
            self.lab.run("nat", f"ip addr add 172.16.0.1/24 dev in0; ip addr add {self.OUTER[side]}/24 dev out0; "
                                "ip route add default via 192.0.2.254; sysctl -qw net.ipv4.ip_forward=1")
            self.lab.run("nat", ["nft", NAT_RULES])
        self.lab.run("net", f"ip link set p{side} master br0")

    def mac(self, role, device):
        return bytes.fromhex(self.lab.run(role, f"cat /sys/class/net/{device}/address").strip().replace(":", ""))
