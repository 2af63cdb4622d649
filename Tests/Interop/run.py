#!/usr/bin/env python3
"""Run the interop cases: causewayd against strongSwan, libreswan, and itself, in network namespaces.

  run.py [--jobs N] [--list] [PATTERN ...]     a pattern is a part of a case's name, or a shell pattern

CAUSEWAY_BIN      directory of causewayd and causeway (default .build/release)
CAUSEWAY_SUBJECT  strongswan: put strongSwan in place of causewayd, to test the harness itself
CAUSEWAY_LAB      cache of the peers (default .lab)
CAUSEWAY_LONG     1: rekey storms and outages of minutes instead of seconds
"""
import argparse
import contextlib
import fnmatch
import importlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402
from gateways import program  # noqa: E402
from lab import Lab, LabError, remove_orphans, remove_spaces  # noqa: E402
from scene import CASES, LONG, Failure, Skip  # noqa: E402

# the long ones first: what is left at the end is short
for _module in ("storms", "outages", "load", "certificates", "eap_cases", "algorithms", "addresses", "kernel_peer", "libreswan", "newer_peer", "fragments", "roaming", "paths", "vici_cases", "explain_cases", "streams", "updown", "cases"):
    importlib.import_module(_module)

TOTAL_SECONDS = 60 * 60 if LONG else 12 * 60
SKIPPED = 77


def chosen(patterns):
    own = os.environ.get("CAUSEWAY_SUBJECT") != "strongswan"
    names = [n for n, (_, _, only_own, _) in CASES.items() if own or not only_own]
    if not patterns:
        return [n for n in names if LONG or not CASES[n][3]]
    return [n for n in names if any(p in n or fnmatch.fnmatch(n, p) for p in patterns)]


def run_here(name):
    """One case in this process; the last line of stdout is its reason when it fails."""
    function = CASES[name][0]
    with Lab() as lab:
        try:
            function(lab)
            return 0
        except Skip as e:
            print(e)
            return SKIPPED
        except Failure as e:
            print(e)
        except LabError as e:
            print(f"laboratory: {e}")
        except SystemExit:
            raise
        except Exception as e:
            traceback.print_exc()
            print(f"{type(e).__name__}: {e}")
        for log in sorted(lab.dir.glob("*.log")):
            print(f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-15:], sep="\n", file=sys.stderr)
        return 1


class Runner:
    """Cases as processes of their own, `jobs` at a time."""

    def __init__(self, names, jobs):
        self.waiting, self.jobs = list(names), jobs
        self.lock, self.passed, self.failed, self.skipped = threading.Lock(), 0, [], 0
        self.children = set()
        self.started = time.monotonic()
        self.logs = peers.CACHE / "logs"
        shutil.rmtree(self.logs, ignore_errors=True)
        self.logs.mkdir(parents=True)

    def run(self):
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self.jobs)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.5)

    def _work(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                name = self.waiting.pop(0)
            self._one(name)

    def _one(self, name):
        limit = min(CASES[name][1], TOTAL_SECONDS - (time.monotonic() - self.started))
        started, output = time.monotonic(), ""
        if limit <= 0:
            self._report(name, 0, "FAIL", f"not started: {TOTAL_SECONDS // 60} minutes are over")
            return
        log = self.logs / name
        with open(self.logs / f"{name}.txt", "w+") as out:
            child = subprocess.Popen([sys.executable, __file__, "--one", name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=out,
                                     text=True, env={**os.environ, "CAUSEWAY_LAB_LOGS": str(log)})
            with self.lock:
                self.children.add(child)
            reason = None
            try:
                output, _ = child.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                reason = f"not done after {limit:.0f} s"
                child.terminate()
                try:
                    child.communicate(timeout=15)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.communicate()
            with self.lock:
                self.children.discard(child)
            remove_spaces(f"cw{child.pid}")
            out.write(output)
        lines = [x for x in output.strip().splitlines() if x]
        last = lines[-1] if lines else f"exit {child.returncode}"
        notes = "; ".join(x.removeprefix("note: ") for x in lines if x.startswith("note: "))
        if child.returncode in (0, SKIPPED) and reason is None:
            shutil.rmtree(log, ignore_errors=True)
            (self.logs / f"{name}.txt").unlink(missing_ok=True)
            verdict, text = ("ok", notes) if child.returncode == 0 else ("skip", last)
        else:
            verdict, text = "FAIL", "; ".join(filter(None, [reason or last, notes]))
        self._report(name, time.monotonic() - started, verdict, text)

    def _report(self, name, seconds, verdict, text):
        with self.lock:
            self.passed += verdict == "ok"
            self.skipped += verdict == "skip"
            if verdict == "FAIL":
                self.failed.append(name)
            print(f"{verdict:4} {name:34} {seconds:5.1f} s  {text[:600]}".rstrip(), flush=True)

    def abort(self):
        for child in list(self.children):
            with contextlib.suppress(OSError):
                child.terminate()
        for child in list(self.children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(12)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=3, help="cases at a time: most of them wait most of the time")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    if options.one:
        return run_here(options.one)
    names = chosen(options.patterns)
    if options.list:
        print(*names, sep="\n")
        return 0
    if not names:
        sys.exit(f"run.py: no case fits {' '.join(options.patterns)}")
    if os.geteuid():
        sys.exit("run.py: root is needed, the cases make network namespaces")
    try:
        peers.fetch()
        if os.environ.get("CAUSEWAY_SUBJECT") != "strongswan":
            program("causewayd")
    except (peers.PeerError, LabError) as e:
        sys.exit(f"run.py: {e}")
    remove_orphans()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sys.exit(128 + n))
    runner = Runner(names, max(1, options.jobs))
    try:
        runner.run()
    finally:
        runner.abort()
    if runner.failed:
        print(f"logs of the failed cases: {runner.logs}")
    print(f"{runner.passed} passed, {len(runner.failed)} failed" + (f", {runner.skipped} skipped" if runner.skipped else ""))
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main())
