#!/usr/bin/env python3
"""`make interop`: the images of Config/containers as two sites, and the systemd unit under a real systemd, in podman.

  containers.py [--check] [PATTERN ...]      --check: say whether containers can be had here, do nothing

CAUSEWAY_BASE        the image that the others stand on (default: Debian's own, or debootstrap's where no registry answers)
CAUSEWAY_BASE_ROOT   a directory to make that image of
CAUSEWAY_LAB         cache of podman and its images (default .lab)

Exit status 0 also when podman cannot run here: then the last line begins with "skipped".
"""
import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from containers_podman import ContainerError, Podman, Unavailable, base_image, compose as compose_program, last_line  # noqa: E402
from lab import wait_until  # noqa: E402

PROJECT = Path(__file__).resolve().parents[2]
FILES = PROJECT / "Config/containers"
INSTALLED = PROJECT / ".build-product/root"
CASES = {}


class Failure(Exception):
    """What the test looks for is not so."""


def case(function):
    CASES[function.__name__.replace("_", "-")] = function
    return function


def check(condition, text):
    if not condition:
        raise Failure(text() if callable(text) else text)


def psk(path):
    """A new pre-shared key that only its owner reads."""
    path.touch(0o600)
    path.write_text(base64.b64encode(secrets.token_bytes(24)).decode() + "\n")


def status(podman, container):
    """`causeway status --json`, or None while the daemon does not answer."""
    answer = podman.call(["podman", "exec", container, "causeway", "status", "--json"], timeout=20)
    try:
        return json.loads(answer.stdout) if answer.returncode == 0 else None
    except json.JSONDecodeError:
        return None


def installed_children(podman, container):
    found = status(podman, container)
    connections = found["connections"] if found else []
    return [child for c in connections for sa in c["sas"] for child in sa.get("child-sas", {}).values() if child["state"] == "INSTALLED"]


def ping(podman, container, source, target):
    output = podman.inside(container, "ping", "-n", "-c3", "-i0.2", "-W2", "-I", source, target, timeout=20, check=False)
    check(" 3 received" in output, f"ping {source} → {target} in {container}: {last_line(output)}")


def carried(podman, container):
    """Packets in and out of the container's CHILD_SAs."""
    children = installed_children(podman, container)
    return [sum(int(c[key]) for c in children) for key in ("packets-in", "packets-out")]


def logs(podman, *containers):
    return "\n".join(f"--- {c}\n" + "\n".join(podman.call(["podman", "logs", c]).stdout.splitlines()[-25:]) for c in containers)


# ---------------------------------------------------------------- two sites

@case
def site_to_site(podman):
    """The compose file as it is: a tunnel between the two images, pings both ways, an orderly end."""
    directory = podman.directory / "pair"
    shutil.copytree(FILES, directory, ignore=shutil.ignore_patterns("psk"))
    psk(directory / "psk")
    program, environment = compose_program()
    podman.environment.update(environment)
    compose = [*program, "-f", str(directory / "compose.yaml")]
    podman.run(*compose, "up", "-d", timeout=120)
    try:
        check(wait_until(lambda: installed_children(podman, "gateway"), 30, 0.3), lambda: "no tunnel after 30 s\n" + logs(podman, "gateway", "peer"))
        ping(podman, "gateway", "10.1.0.2", "10.2.0.2")
        ping(podman, "peer", "10.2.0.2", "10.1.0.2")
        # counters are collected once a second
        check(wait_until(lambda: min(carried(podman, "gateway")) >= 6, 5, 0.5), lambda: f"six pings, and the tunnel carried {carried(podman, 'gateway')}")
        # swanctl says it in IPv4 addresses and states, as everywhere
        listed = podman.inside("peer", "swanctl", "--list-sas")
        check("ESTABLISHED" in listed and "INSTALLED" in listed, f"the peer does not see the tunnel: {listed}")
        podman.run("podman", "stop", "--time", "15", "gateway", timeout=40)
        code = podman.run("podman", "inspect", "--format", "{{.State.ExitCode}}", "gateway").strip()
        check(code == "0", lambda: f"causewayd ended with {code}\n" + logs(podman, "gateway"))
        check(wait_until(lambda: not podman.inside("peer", "swanctl", "--list-sas").strip(), 5), "the peer was not told of the end")
    finally:
        podman.call([*compose, "down", "--timeout", "2"], timeout=60)


# ---------------------------------------------------------------- the unit

class Machine:
    """A container with systemd, causewayd installed, a configuration; and a peer on the same network."""

    NAME, PEER = "machine", "machine-peer"
    ADDRESS, PEER_ADDRESS = "198.51.100.2", "198.51.100.3"

    def __init__(self, podman):
        self.podman = podman
        secret = podman.directory / "machine-psk"
        psk(secret)
        for name, subnet in (("outer", "198.51.100.0/24"), ("inner", "10.1.0.0/24"), ("far", "10.2.0.0/24")):
            podman.run("podman", "network", "create", "--disable-dns", *([] if name == "outer" else ["--internal"]), "--subnet", subnet, name)
        podman.run("podman", "run", "-d", "--name", self.NAME, "--systemd=always", "--cgroups=enabled", "--cgroup-parent", f"/{podman.cgroup}",
                   "--cap-add", "NET_ADMIN,NET_RAW,SYS_ADMIN", "--device", "/dev/net/tun", "--sysctl", "net.ipv4.ip_forward=1",
                   "--network", f"outer:ip={self.ADDRESS}", "--network", "inner:ip=10.1.0.2",
                   "localhost/causeway-systemd", timeout=60)
        podman.run("podman", "run", "-d", "--name", self.PEER, "--cap-add", "NET_ADMIN,NET_RAW", "--device", "/dev/net/tun",
                   "--network", f"outer:ip={self.PEER_ADDRESS}", "--network", "far:ip=10.2.0.2",
                   "--volume", f"{FILES}/peer/gateway.conf:/etc/swanctl/conf.d/gateway.conf:ro", "--volume", f"{secret}:/run/secrets/psk:ro",
                   "localhost/causeway-peer", timeout=60)
        # on a machine udev does so; a container has the mode of the host, whatever that is
        self("chmod 0666 /dev/net/tun")
        state = wait_until(lambda: re.search("running|degraded", self("systemctl is-system-running", check=False)), 40, 0.3)
        check(state, lambda: "systemd did not come up: " + self("systemctl list-jobs --no-pager", check=False) + logs(podman, self.NAME))
        text = (FILES / "gateway/gateway.yaml").read_text().replace("/run/secrets/psk", "psk/peer")
        configuration = podman.directory / "machine.yaml"
        configuration.write_text(text)
        podman.run("podman", "cp", str(configuration), f"{self.NAME}:/etc/causeway/gateway.yaml")
        podman.run("podman", "cp", str(secret), f"{self.NAME}:/etc/causeway/psk/peer")
        # as the README has it
        self("chown causeway /etc/causeway/psk/peer && chmod 0600 /etc/causeway/psk/peer")

    def __call__(self, line, check=True, timeout=40):
        return self.podman.inside(self.NAME, "sh", "-c", line, timeout=timeout, check=check)

    def property(self, name):
        return self(f"systemctl show -P {name} causewayd").strip()

    def journal(self, arguments=""):
        return self(f"journalctl -u causewayd -o cat --no-pager {arguments}")

    def explain(self):
        return self("systemctl status causewayd --no-pager -l; journalctl -u causewayd --no-pager -n 30", check=False)

    def start(self):
        answer = self.podman.call(["podman", "exec", self.NAME, "systemctl", "start", "causewayd"], timeout=60)
        check(answer.returncode == 0, lambda: f"systemctl start: {answer.stdout}\n{self.explain()}")


def unit_starts(machine):
    """Type=notify, the unprivileged user with three capabilities, the tunnel that the sandbox must allow."""
    machine.start()
    check(machine.property("ActiveState") == "active", machine.explain)
    check("1 connections" in machine.property("StatusText"), f"status text: {machine.property('StatusText')}")
    pid = machine.property("MainPID")
    proc = dict(x.split(":", 1) for x in machine(f"cat /proc/{pid}/status").splitlines() if ":" in x)
    uid, capabilities = proc["Uid"].split(), int(proc["CapEff"], 16)
    check("0" not in uid, f"causewayd runs as uid {uid}")
    # CAP_NET_BIND_SERVICE 10, CAP_NET_ADMIN 12, CAP_NET_RAW 13
    check(capabilities == 1 << 10 | 1 << 12 | 1 << 13, f"capabilities {capabilities:#x}")
    check(proc["NoNewPrivs"].strip() == "1", "NoNewPrivileges is not in force")
    check(wait_until(lambda: installed_children(machine.podman, machine.NAME), 30, 0.3), machine.explain)
    ping(machine.podman, machine.NAME, "10.1.0.2", "10.2.0.2")
    ping(machine.podman, machine.PEER, "10.2.0.2", "10.1.0.2")
    warnings = [x for x in machine.journal("-p warning").splitlines() if x.strip() and x != "-- No entries --"]
    check(not warnings, lambda: "warnings under the unit: " + "; ".join(warnings))


def unit_reloads(machine):
    """A good file is taken over, a bad one makes `systemctl reload` fail and changes nothing."""
    pid = machine.property("MainPID")
    machine("systemctl reload causewayd")
    machine("cp /etc/causeway/gateway.yaml /tmp/good && echo nonsense: 1 >> /etc/causeway/gateway.yaml")
    refused = machine("systemctl reload causewayd 2>&1; echo status $?", check=False)
    check("status 0" not in refused, "a wrong configuration was reloaded without complaint")
    machine("cp /tmp/good /etc/causeway/gateway.yaml; systemctl reload causewayd")
    check(machine.property("MainPID") == pid and machine.property("ActiveState") == "active", machine.explain)
    check(installed_children(machine.podman, machine.NAME), "the tunnel did not survive a reload")


def unit_watchdog(machine):
    """A daemon that hangs is ended and started again, and brings its tunnel up."""
    machine("mkdir -p /etc/systemd/system/causewayd.service.d && printf '[Service]\\nWatchdogSec=2\\n' "
            "> /etc/systemd/system/causewayd.service.d/test.conf && systemctl daemon-reload && systemctl restart causewayd")
    pid = machine.property("MainPID")
    time.sleep(5)
    check(machine.property("MainPID") == pid, lambda: "the watchdog was not fed\n" + machine.explain())
    machine(f"kill -STOP {pid}")
    check(wait_until(lambda: machine.property("ActiveState") == "active" and machine.property("MainPID") not in (pid, "0"), 30, 0.3),
          lambda: "a stopped daemon was not replaced\n" + machine.explain())
    check(machine.property("NRestarts") == "1", f"NRestarts={machine.property('NRestarts')}")
    check("watchdog" in machine("journalctl --no-pager -u causewayd").lower(), "the journal does not tell of the watchdog")
    check(wait_until(lambda: installed_children(machine.podman, machine.NAME), 40, 0.3), machine.explain)


def unit_stops(machine):
    """Nothing stays: no TUN, no routes, no packet filter, no socket; the journal has it with priorities."""
    machine("systemctl stop causewayd")
    check(machine.property("Result") == "success" and machine.property("ActiveState") == "inactive", machine.explain)
    check("causeway0" not in machine("ip -br link"), "the TUN device stayed")
    check("causeway" not in machine("nft list tables"), "the nftables table stayed")
    check("2200" not in machine("ip rule"), "the routing rule stayed")
    check("vici.sock" not in machine("ls /run/causeway 2>/dev/null || true"), "the vici socket stayed")
    check("stopped" in machine.journal("-p notice"), lambda: "no 'stopped' among the notices: " + machine.journal())
    check("is up" in machine.journal("-p notice"), "no start among the notices")
    check(wait_until(lambda: not machine.podman.inside(machine.PEER, "swanctl", "--list-sas").strip(), 5), "the peer was not told of the end")


def unit_refuses(machine):
    """A wrong configuration is not tried again and again."""
    machine("echo nonsense: 1 >> /etc/causeway/gateway.yaml; systemctl start causewayd", check=False)
    time.sleep(2.5)
    check(machine.property("ExecMainStatus") == "78" and machine.property("ActiveState") == "failed", machine.explain)
    check("nonsense" in machine.journal("-p err"), "the journal does not say what is wrong")
    machine("cp /tmp/good /etc/causeway/gateway.yaml; systemctl reset-failed causewayd", check=False)


@case
def systemd_unit(podman):
    """causewayd.service under a real systemd: start, status, tunnel, reload, watchdog, stop, refusal, journal."""
    try:
        machine = Machine(podman)
        for step in (unit_starts, unit_reloads, unit_watchdog, unit_stops, unit_refuses):
            started = time.monotonic()
            step(machine)
            print(f"    {step.__name__.replace('_', ' '):18} {time.monotonic() - started:5.1f} s", flush=True)
    finally:
        podman.call(["podman", "rm", "--force", "--time", "2", Machine.NAME, Machine.PEER], timeout=60)
        podman.call(["podman", "network", "rm", "outer", "inner", "far"])


# ---------------------------------------------------------------- running

def install():
    """What `make install` would put onto a machine, into a directory: the context of the images."""
    shutil.rmtree(INSTALLED, ignore_errors=True)
    subprocess.run(["make", "-s", "install", f"DESTDIR={INSTALLED}"], cwd=PROJECT, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   timeout=3000)


def run(podman, names):
    failed = skipped = 0
    base = base_image(podman)
    podman.build("causeway", FILES / "Containerfile", INSTALLED, base)
    podman.build("causeway-peer", FILES / "Containerfile.strongswan", FILES, base)
    if "systemd-unit" in names:
        podman.build("causeway-systemd", PROJECT / "Tests/Interop/Containerfile.systemd", PROJECT / "systemd", "localhost/causeway")
    for name in names:
        started, verdict, text = time.monotonic(), "ok", ""
        try:
            CASES[name](podman)
        except (Failure, ContainerError) as e:
            verdict, text = "FAIL", str(e)
        except Unavailable as e:
            verdict, text = "skip", str(e)
        except Exception as e:
            traceback.print_exc()
            verdict, text = "FAIL", f"{type(e).__name__}: {e}"
        failed, skipped = failed + (verdict == "FAIL"), skipped + (verdict == "skip")
        print(f"{verdict:4} {name:20} {time.monotonic() - started:5.1f} s  {text}".rstrip(), flush=True)
    print(f"{len(names) - failed - skipped} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


def main():
    patterns = [x for x in sys.argv[1:] if x != "--check"]
    names = [n for n in CASES if not patterns or any(p in n for p in patterns)]
    if not names or any(p.startswith("-") for p in patterns):
        sys.exit(__doc__)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sys.exit(128 + n))
    podman = None
    try:
        podman = Podman()
        if "--check" in sys.argv:
            print("containers can be had here")
            return 0
        install()
        return run(podman, names)
    except Unavailable as e:
        print(f"skipped: {e}")
        return 0
    except (ContainerError, subprocess.CalledProcessError) as e:
        print(f"FAIL {e}")
        return 1
    finally:
        if podman:
            podman.close()


if __name__ == "__main__":
    sys.exit(main())
