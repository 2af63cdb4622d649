#!/usr/bin/env python3
"""Fetch the programs that the demo and the tests meet: strongSwan and iperf3, libreswan for single cases.

  peers.py fetch      download their Debian packages and unpack them into .lab/ (nothing is installed); does nothing if they are there
  peers.py show       say what is there

Installing strongSwan would start a second IKE daemon on this machine and let AppArmor confine it, so its files are unpacked and
laid over /usr inside a private mount namespace when it runs.  CAUSEWAY_LAB names another cache directory.
"""
import fcntl
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("CAUSEWAY_LAB", PROJECT / ".lab"))
TREE = CACHE / "tree"
# what single cases need, and skip without: a Linux kernel as a process (a peer whose kernel does ESP), a clock that moves
EXTRAS = CACHE / "extras"
EXTRA_PACKAGES = ["user-mode-linux", "kmod", "libkmod2", "libfaketime"]
# its package conflicts with strongSwan's; NSS comes along so that tools and library are of one version
LIBRESWAN = CACHE / "libreswan"
LIBRESWAN_PACKAGES = ["libreswan", "libnss3-tools", "libnss3", "libnspr4"]

STRONGSWAN = ["strongswan-charon", "strongswan-libcharon", "strongswan-swanctl", "libstrongswan", "libstrongswan-standard-plugins",
              "libstrongswan-extra-plugins", "libcharon-extra-plugins", "libcharon-extauth-plugins"]
# another list of packages is another cache
STAMP = TREE / f".complete-{len(STRONGSWAN)}"
IPERF = ["iperf3", "libiperf0"]
NEEDED_FILES = ["usr/lib/ipsec/charon", "usr/sbin/swanctl", "usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so",
                "usr/lib/ipsec/plugins/libstrongswan-eap-mschapv2.so", "usr/lib/ipsec/plugins/libstrongswan-curve25519.so", "usr/lib/ipsec/plugins/libstrongswan-chapoly.so"]

STRONGSWAN_6 = ["strongswan-charon", "strongswan-swanctl", "charon-systemd", "libcharon-extra-plugins",
                "libcharon-extauth-plugins", "libstrongswan-extra-plugins", "iproute2"]


class PeerError(Exception):
    """The peers cannot be had; the text says why in one line."""


def run(argv, cwd=None, timeout=300):
    """stdout of a command; PeerError with the end of stderr when it fails."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        r = subprocess.run(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    except FileNotFoundError:
        raise PeerError(f"{argv[0]} is missing: the peers come from Debian packages") from None
    except subprocess.TimeoutExpired:
        raise PeerError(f"{' '.join(argv[:2])}: not done after {timeout} s") from None
    if r.returncode:
        raise PeerError(f"{' '.join(argv[:3])} failed: {r.stderr.strip()[-400:] or r.stdout.strip()[-400:]}")
    return r.stdout


def wanted():
    names = list(STRONGSWAN)
    if not shutil.which("iperf3"):
        names += IPERF
    return names


def closure(names):
    """`names` and the shared libraries they need that this machine does not have."""
    plan = run(["apt-get", "-s", "--no-install-recommends", "install", *names])
    extra = re.findall(r"^Inst (lib\S+)", plan, re.M)
    return list(dict.fromkeys(names + [n for n in extra if not n.startswith(("libpam", "libnss"))]))


def download(into, names):
    """The packages that `names()` gives as files in `into`; refreshes apt's lists once when they are absent or out of date."""
    for attempt in (1, 2, 3):
        try:
            have = {p.name.split("_")[0] for p in into.glob("*.deb")}
            missing = [n for n in names() if n not in have]
            if missing:
                run(["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *missing], cwd=into)
            return
        except PeerError:
            if attempt == 3:
                raise
            run(["apt-get", "-qq", "-o", "Acquire::Retries=3", "update"], timeout=600)
            time.sleep(attempt)


def unpack(debs, into, needed=NEEDED_FILES):
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", str(deb), str(into)])
    # /lib and friends are links into /usr on a merged system: one tree is enough
    for name in ("lib", "lib64", "bin", "sbin"):
        top = into / name
        if top.is_dir() and not top.is_symlink():
            shutil.copytree(top, into / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(top)
    absent = [f for f in needed if not (into / f).exists()]
    if absent:
        raise PeerError(f"the packages do not hold {', '.join(absent)}")


def fetch_apart(into, stamp, names, needed, finish=lambda part: None):
    """Make a cache of its own for what single cases need."""
    if (into / stamp).exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"lock-{into.name}", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (into / stamp).exists():
            return
        debs, part = CACHE / f"debs-{into.name}", CACHE / f"{into.name}.part"
        for directory in (debs, part):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        download(debs, names)
        unpack(debs, part, needed)
        finish(part)
        (part / stamp).touch()
        shutil.rmtree(into, ignore_errors=True)
        os.replace(part, into)
        shutil.rmtree(debs, ignore_errors=True)


def fetch_extras():
    """Make the cache of what single cases need; PeerError where this machine's archive does not have it."""
    def link(part):
        # where modprobe -d looks for them
        (part / "lib").mkdir(exist_ok=True)
        (part / "lib/modules").symlink_to("../usr/lib/uml/modules")
    fetch_apart(EXTRAS, f".complete-{len(EXTRA_PACKAGES)}", lambda: EXTRA_PACKAGES, ["usr/bin/linux.uml", "usr/bin/kmod"], link)


def fetch_libreswan():
    """The same for libreswan."""
    fetch_apart(LIBRESWAN, ".complete", lambda: closure(LIBRESWAN_PACKAGES), ["usr/libexec/ipsec/pluto", "usr/bin/certutil", "usr/bin/pk12util"])


def newer_root():
    """The root of a Debian 13 with strongSwan 6; made once by debootstrap, in a minute or two. PeerError where that cannot be."""
    root = CACHE / "debian13"
    if (root / ".complete").exists():
        return root
    if not shutil.which("debootstrap"):
        raise PeerError("no debootstrap here, which makes the root for strongSwan 6")
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock-debian13", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / ".complete").exists():
            part = CACHE / "debian13.part"
            shutil.rmtree(part, ignore_errors=True)
            # The first stage alone, then every package is unpacked: no script of a package runs, so no daemon is set up.
            run(["debootstrap", "--foreign", "--variant=minbase", "--include=" + ",".join(STRONGSWAN_6), "trixie", str(part)], timeout=600)
            for deb in sorted((part / "var/cache/apt/archives").glob("*.deb")):
                run(["dpkg-deb", "-x", str(deb), str(part)])
                deb.unlink()
            # a script would have made this link
            shutil.rmtree(part / "var/run", ignore_errors=True)
            (part / "var/run").unlink(missing_ok=True)
            (part / "var/run").symlink_to("../run")
            if not (part / "usr/lib/ipsec/charon").exists():
                raise PeerError("the packages of Debian 13 hold no charon")
            (part / ".complete").touch()
            shutil.rmtree(root, ignore_errors=True)
            os.replace(part, root)
    return root


def faketime():
    """The library that gives a program another time of day, or None."""
    return next(iter(sorted(EXTRAS.glob("usr/lib/*/faketime/libfaketime.so.1"))), None)


def fetch(quiet=False):
    """Make the cache; safe to call from several processes at once."""
    if STAMP.exists():
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if STAMP.exists():
            return
        started = time.monotonic()
        debs, part = CACHE / "debs", CACHE / "tree.part"
        shutil.rmtree(part, ignore_errors=True)
        debs.mkdir(exist_ok=True)
        part.mkdir()
        download(debs, lambda: closure(wanted()))
        try:
            unpack(debs, part)
        except PeerError:
            shutil.rmtree(debs, ignore_errors=True)     # a damaged download must not be found again
            raise
        (part / STAMP.name).touch()
        shutil.rmtree(TREE, ignore_errors=True)
        os.replace(part, TREE)
        shutil.rmtree(debs, ignore_errors=True)
        if not quiet:
            print(f"peers: unpacked into {CACHE} in {time.monotonic() - started:.0f} s (nothing installed)")


def iperf3():
    """Argv prefix and environment of iperf3: this machine's or the unpacked one."""
    if shutil.which("iperf3"):
        return ["iperf3"], {}
    libraries = ":".join(str(d) for d in [TREE / "usr/lib", *sorted((TREE / "usr/lib").glob("*-linux-gnu*"))])
    return [str(TREE / "usr/bin/iperf3")], {"LD_LIBRARY_PATH": libraries}


def main():
    if sys.argv[1:] == ["fetch"]:
        try:
            fetch()
        except PeerError as e:
            sys.exit(f"peers.py: {e}")
        for more, what in ((fetch_extras, EXTRA_PACKAGES), (fetch_libreswan, ["libreswan"])):
            try:
                more()
            except PeerError as e:
                print(f"peers: some cases will be skipped, no {', '.join(what)}: {e}")
    elif sys.argv[1:] == ["show"]:
        print(f"{TREE}: {'complete' if STAMP.exists() else 'absent (make deps fetches it)'}")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
