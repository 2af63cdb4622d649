"""podman for the container tests: found or unpacked, in namespaces of its own, with its store in .lab/podman.

Everything that podman starts lives in a pid, mount and network namespace held by one process: when that ends, containers,
bridges and mounts are gone. Only images stay, so that the next run is quick.
"""
import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
from lab import SBIN, wait_until

STORE = peers.CACHE / "podman"
UNPACKED = peers.CACHE / "podman-tree"
# none of them is installed: they are laid over /usr and /etc where podman runs
PACKAGES = ["podman", "crun", "conmon", "netavark", "golang-github-containers-common", "golang-github-containers-image"]
NEEDED = ["usr/bin/podman", "usr/bin/crun", "usr/bin/conmon", "usr/lib/podman/netavark"]
# Debian 12's 1.0.3 gives containers no fixed addresses
COMPOSE = "podman-compose==1.5.0"

# Limits that a process without CAP_SYS_RESOURCE can set; no cgroup unless a container asks for it.
CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=20000:20000"]
cgroups = "disabled"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{directory}/networks"
"""
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{store}/root"
runroot = "/run/containers-store"
"""
# "cgroups in hybrid mode not supported": a cgroup2 mount beside cgroup v1 is hidden.
SETUP = """
resolver=$(readlink -m /etc/resolv.conf); cat "$resolver" >"$DIRECTORY/resolv.conf" 2>/dev/null || true
mount -t proc proc /proc
if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi
mount -t tmpfs -o mode=0755 tmpfs /run; mkdir -p /run/lock /run/netns
mount -t tmpfs tmpfs /dev/shm
case $resolver in /run/*) mkdir -p "${resolver%/*}"; cp "$DIRECTORY/resolv.conf" "$resolver" ;; esac
if [ -n "$TREE" ]; then
    mount -t overlay overlay -o "lowerdir=$TREE/usr:/usr" /usr
    mount -t overlay overlay -o "lowerdir=$TREE/etc:/etc" /etc
fi
ip link set lo up
echo ready
exec sleep 3600
"""


class Unavailable(Exception):
    """Containers cannot be had on this machine; the text says why in one line."""


class ContainerError(Exception):
    """A command of podman failed that had to succeed."""


def unpacked():
    """The directory with podman's files where it is not installed, or None where it is."""
    if shutil.which("podman", path=SBIN):
        return None
    stamp = UNPACKED / ".complete"
    peers.CACHE.mkdir(parents=True, exist_ok=True)
    with open(peers.CACHE / "lock-podman", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            return UNPACKED
        debs, part = peers.CACHE / "debs-podman", peers.CACHE / "podman-tree.part"
        for directory in (debs, part):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        try:
            peers.download(debs, lambda: peers.closure(PACKAGES))
            peers.unpack(debs, part, NEEDED)
        except peers.PeerError as e:
            raise Unavailable(f"podman is not installed and could not be fetched: {e}") from None
        finally:
            shutil.rmtree(debs, ignore_errors=True)
        (part / ".complete").touch()
        shutil.rmtree(UNPACKED, ignore_errors=True)
        os.replace(part, UNPACKED)
    return UNPACKED


def compose():
    """argv of a podman-compose that knows fixed addresses, and its environment; Unavailable if there is none."""
    if program := shutil.which("podman-compose", path=SBIN):
        text = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30).stdout
        version = re.search(r"podman-compose version:? (\d+)\.(\d+)", text)
        if version and (int(version[1]), int(version[2])) >= (1, 1):
            return [program], {}
    directory = peers.CACHE / "podman-compose"
    if not (directory / "podman_compose.py").exists():
        try:
            peers.run([sys.executable, "-m", "pip", "install", "-q", "--no-warn-script-location", "--root-user-action=ignore",
                       "--target", str(directory), COMPOSE])
        except peers.PeerError as e:
            raise Unavailable(f"no podman-compose 1.1 or later, and none could be fetched: {e}") from None
    return [sys.executable, str(directory / "podman_compose.py")], {"PYTHONPATH": str(directory)}


class Podman:
    """podman in its own namespaces; close() ends all that runs there."""

    def __init__(self):
        if os.geteuid():
            raise Unavailable("not root: containers with a TUN device and bridges need it")
        if not os.path.exists("/dev/net/tun"):
            raise Unavailable("/dev/net/tun is missing")
        tree = unpacked()
        self.directory = Path(tempfile.mkdtemp(prefix="cwpodman-"))
        self.holder, self.cgroup = None, f"causeway-test-{os.getpid()}"
        STORE.mkdir(parents=True, exist_ok=True)
        self.lock = open(STORE / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)              # one run at a time uses the store
        (self.directory / "networks").mkdir()
        (self.directory / "containers.conf").write_text(CONTAINERS_CONF.format(directory=self.directory))
        (self.directory / "storage.conf").write_text(STORAGE_CONF.format(store=STORE))
        self.environment = {**os.environ, "PATH": SBIN, "CONTAINERS_CONF": str(self.directory / "containers.conf"),
                            "CONTAINERS_STORAGE_CONF": str(self.directory / "storage.conf"), "LC_ALL": "C.UTF-8"}
        try:
            self._hold(tree)
            self._probe()
        except BaseException:
            self.close()
            raise

    def _hold(self, tree):
        self.holder = subprocess.Popen(
            ["unshare", "-m", "-n", "-p", "--fork", "--kill-child", "--propagation", "private", "sh", "-ec", SETUP],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
            env={**self.environment, "DIRECTORY": str(self.directory), "TREE": str(tree or "")})
        line = self.holder.stdout.readline().strip()
        if line != "ready":
            raise Unavailable(f"no namespaces for podman: {line} {self.holder.stdout.read().strip()}"[:300])
        children = Path(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children").read_text().split()
        self.leader = children[0]

    def _probe(self):
        answer = self.call(["podman", "info", "--format", "{{.Store.GraphDriverName}}"], timeout=60)
        if answer.returncode:
            raise Unavailable(f"podman does not run here: {last_line(answer.stdout)}")
        # what a killed run left behind in our own store
        self.call(["podman", "rm", "--force", "--all", "--time", "0"], timeout=60)

    def call(self, argv, timeout=60, outside=False, input=None):
        """CompletedProcess of a command in the namespaces; `outside`: in this machine's network, for builds."""
        enter = ["nsenter", "-t", self.leader, "-m", "-p", *([] if outside else ["-n"])]
        try:
            return subprocess.run([*enter, *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=input is None, errors=None if input else "replace",
                                  timeout=timeout, env=self.environment, cwd=self.directory,
                                  **({"stdin": input} if input else {"stdin": subprocess.DEVNULL}))
        except subprocess.TimeoutExpired as e:
            output = e.stdout.decode(errors="replace") if isinstance(e.stdout, bytes) else e.stdout or ""
            return subprocess.CompletedProcess(argv, 124, f"{output}\nnot done after {timeout} s")

    def run(self, *argv, timeout=60, outside=False):
        """Output of a command that must succeed."""
        answer = self.call(list(argv), timeout, outside)
        if answer.returncode:
            raise ContainerError(f"{' '.join(argv)[:160]}: exit {answer.returncode}: {answer.stdout.strip()[-600:]}")
        return answer.stdout

    def inside(self, container, *argv, timeout=30, check=True):
        """Output of a command in a container."""
        answer = self.call(["podman", "exec", container, *argv], timeout)
        if check and answer.returncode:
            raise ContainerError(f"{container}: {' '.join(argv)[:160]}: exit {answer.returncode}: {answer.stdout.strip()[-600:]}")
        return answer.stdout

    def build(self, name, containerfile, context, base):
        print(f"    building {name}", flush=True)
        self.run("podman", "build", "-q", "--network=host", "--build-arg", f"BASE={base}", "-t", f"localhost/{name}",
                 "-f", str(containerfile), str(context), timeout=900, outside=True)

    def close(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if self.holder and self.holder.poll() is None:
            with contextlib.suppress(Exception):
                self.call(["podman", "rm", "--force", "--all", "--time", "0"], timeout=30)
            self.holder.kill()                              # takes the pid namespace with it
            self.holder.wait(10)
        for top in Path("/sys/fs/cgroup").glob(f"**/{self.cgroup}") if os.path.isdir("/sys/fs/cgroup") else []:
            for directory, _, _ in os.walk(top, topdown=False):
                wait_until(lambda d=directory: not _refused(os.rmdir, d), 2)
        self.lock.close()
        shutil.rmtree(self.directory, ignore_errors=True)


def _refused(call, *arguments):
    try:
        call(*arguments)
        return False
    except FileNotFoundError:
        return False
    except OSError:
        return True


def last_line(text):
    lines = [x for x in text.strip().splitlines() if x.strip()]
    return lines[-1].strip()[:300] if lines else "no message"


def release():
    """This machine's Debian release; images hold programs that were built here."""
    match = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.M)
    if not match or not shutil.which("apt-get"):
        raise Unavailable("this machine is no Debian: the images' programs would not fit their libraries")
    return match[1]


def base_image(podman):
    """The image that all others stand on: CAUSEWAY_BASE, one made before, Debian's own from its registry, or debootstrap's."""
    if given := os.environ.get("CAUSEWAY_BASE"):
        return given
    name = f"localhost/causeway-base:{release()}"
    if podman.call(["podman", "image", "exists", name]).returncode == 0:
        return name
    if root := os.environ.get("CAUSEWAY_BASE_ROOT"):
        return import_root(podman, Path(root), name)
    upstream = f"docker.io/library/debian:{release()}-slim"
    print(f"    fetching {upstream}", flush=True)
    if podman.call(["podman", "pull", "-q", upstream], timeout=120, outside=True).returncode == 0:
        podman.run("podman", "tag", upstream, name)
        return name
    if not shutil.which("debootstrap", path=SBIN):
        raise Unavailable(f"neither {upstream} can be fetched, nor is debootstrap installed")
    print("    no registry: making a base image by debootstrap", flush=True)
    with tempfile.TemporaryDirectory(dir=STORE, prefix="base-") as directory:
        return import_root(podman, debootstrapped(Path(directory) / "root"), name)


def debootstrapped(root):
    """A minimal Debian with the package sources of this machine."""
    text = peers.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"])
    name = release()
    sources = [x.split() for x in dict.fromkeys(text.splitlines()) if re.search(rf" {name}(-updates|-security)? main$", x)]
    if not any(suite == name for _, suite, _ in sources):
        raise Unavailable(f"no package source of {name} on this machine")
    proxy = re.search(r'"(http.+)"', peers.run(["apt-config", "dump", "Acquire::http::Proxy"]))
    environment = {**os.environ, "PATH": SBIN, **({"http_proxy": proxy[1]} if proxy else {})}
    uri = next(uri for uri, suite, _ in sources if suite == name)
    made = subprocess.run(["debootstrap", "--variant=minbase", "--include=ca-certificates", name, str(root), uri], env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
    if made.returncode:
        raise Unavailable(f"debootstrap failed: {last_line(made.stdout)}")
    (root / "etc/apt/sources.list").write_text("".join(f"deb {u} {s} {c}\n" for u, s, c in sources))
    if proxy:
        (root / "etc/apt/apt.conf.d/01proxy").write_text(f'Acquire::http::Proxy "{proxy[1]}";\n')
    return root


def import_root(podman, root, name):
    tar = subprocess.Popen(["tar", "-C", str(root), "-cf", "-", "."], stdout=subprocess.PIPE)
    answer = podman.call(["podman", "import", "-q", "-", name], timeout=300, input=tar.stdout)
    tar.stdout.close()
    if tar.wait() or answer.returncode:
        raise Unavailable(f"the base image could not be imported: {last_line(str(answer.stdout))}")
    return name


if __name__ == "__main__":
    sys.exit(__doc__)
