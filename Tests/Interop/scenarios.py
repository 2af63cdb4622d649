#!/usr/bin/env python3
"""`make scenarios`: strongSwan's own integration scenarios with causewayd in place of some of their hosts.

  scenarios.py [--jobs N] [--role ROLE ...] [PATTERN ...]      a pattern is GROUP, GROUP/NAME or a shell pattern of it

CAUSEWAY_SCENARIOS  directory of suite.py (default ../shared/lab/scenarios); where it is absent this says so and does nothing
CAUSEWAY_BIN        directory of causewayd (default .build/release)

Writes Tests/Interop/scenarios.md when all roles and scenarios have run; results stay in .lab/scenarios, so that a run of some
scenarios renews those alone (--fresh forgets them).  The roles:

  strongswan  strongSwan on all hosts: what can pass here at all
  control     a daemon that does nothing in moon's place: what passes with it proves nothing
  moon sun carol  causewayd in the place of that host
  all         causewayd on all hosts
"""
import argparse
import concurrent.futures
import fnmatch
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import peers  # noqa: E402
from scenarios_report import reason, refuses_connection, report  # noqa: E402

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
SUITE = Path(os.environ.get("CAUSEWAY_SCENARIOS", PROJECT.parent / "shared/lab/scenarios")).resolve()
RESULTS = peers.CACHE / "scenarios"
TABLE = HERE / "scenarios.md"
HOSTS = ["moon", "sun", "carol", "dave", "alice", "venus", "bob"]
ROLES = {"strongswan": [], "control": ["moon"], "moon": ["moon"], "sun": ["sun"], "carol": ["carol"], "all": HOSTS}
SECONDS = 240


def binary():
    path = Path(os.environ.get("CAUSEWAY_BIN", PROJECT / ".build/release")) / "causewayd"
    if not path.exists():
        sys.exit(f"scenarios.py: {path} is missing: make programs")
    return str(path.resolve())


def tools():
    """Say what is missing, or unpack strongSwan's programs (nothing is installed)."""
    if not (SUITE / "suite.py").exists():
        print(f"skipped: no scenarios at {os.path.relpath(SUITE, PROJECT)} (CAUSEWAY_SCENARIOS names another directory)")
        sys.exit(0)
    if os.geteuid():
        sys.exit("scenarios.py: root is needed, the hosts are network namespaces")
    roots = SUITE.parent / "roots.py"
    if roots.exists():
        made = subprocess.run([str(roots), "tree"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900)
        if made.returncode:
            sys.exit(f"scenarios.py: strongSwan's programs could not be had: {made.stdout.strip()[-300:]}")


def baseline():
    """Names of the scenarios that strongSwan itself passes: the bar."""
    data = json.loads((SUITE / "baseline.json").read_text())
    return [s["name"] for s in data["scenarios"] if s["status"] == "pass"]


def participants(name):
    for line in (SUITE / "data/tests" / name / "test.conf").read_text().splitlines():
        if line.startswith("IPSECHOSTS="):
            return line.split("=", 1)[1].strip('"').split()
    return []


class Runner:
    """Scenarios as processes of suite.py, several at a time."""

    def __init__(self, jobs, full):
        self.full, self.jobs, self.lock, self.children = full, jobs, threading.Lock(), set()
        self.directory = Path(tempfile.mkdtemp(prefix="cwscenarios-"))
        self.environment = {**os.environ, "CAUSEWAYD": binary()}

    def run(self, role, names):
        """Results of a role by scenario; those already there stay."""
        file = RESULTS / f"{role}.json"
        results = json.loads(file.read_text()) if file.exists() else {}
        todo = [n for n in names if not ROLES[role] or set(ROLES[role]) & set(participants(n))]
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            for name, result in zip(todo, pool.map(lambda n: self._settled(role, n), todo)):
                results[name] = result
        file.write_text(json.dumps(results, indent=1, sort_keys=True))
        return results

    def _settled(self, role, name):
        """A result; what failed for no reason that the daemon gave is run once more, as timing may have been it."""
        result = self._once(role, name)
        if result["status"] != "pass" and not result.get("refused"):
            again = self._once(role, name)
            if again["status"] == "pass":
                result = {**again, "attempts": 2}
        with self.lock:
            print(f"{role:10} {name:38} {result['status']:5} {result.get('reason', '')[:100]}".rstrip(), flush=True)
        return result

    def _once(self, role, name):
        work = Path(tempfile.mkdtemp(dir=self.directory))
        command = {"control": SUITE / "examples/dead.cmd"}.get(role, HERE / "scenarios.cmd")
        hosts = [h for h in ROLES[role] if h in participants(name)]
        argv = [sys.executable, str(SUITE / "suite.py"), name, "--keep", "--work", str(work / "lab"), "--results", str(work / "results.json"),
                "--logs", str(work / "logs"), "--max-seconds", str(SECONDS), *[f"--under-test={h}={command}" for h in hosts]]
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment,
                                 start_new_session=True)
        with self.lock:
            self.children.add(child)
        output, logs = self._watch(child, {h: work / "lab/w0" / h / "log/dut.out" for h in hosts})
        with self.lock:
            self.children.discard(child)
        try:
            found = json.loads((work / "results.json").read_text())["scenarios"][0]
        except (OSError, ValueError, LookupError):
            found = {"status": "fail" if any(map(refuses_connection, logs.values())) else "error", "error": (output.strip().splitlines() or ["no output"])[-1]}
        result = {"status": found["status"]}
        if found["status"] != "pass":
            console = "".join(text(x) for x in (work / "logs").rglob("*.log"))
            result["reason"], result["refused"] = reason(found, logs, console)
            self._keep(role, name, work, logs)
        subprocess.run(["rm", "-rf", str(work)], check=False)
        return result

    def _watch(self, child, files):
        """(output, {host: daemon's log}) of a scenario; one whose connection is refused is ended, as it has failed already."""
        end = time.monotonic() + SECONDS + 30
        while True:
            try:
                output, _ = child.communicate(timeout=0.3)
                return output, {h: text(f) for h, f in files.items()}
            except subprocess.TimeoutExpired:
                logs = {h: text(f) for h, f in files.items()}
                if time.monotonic() > end or (not self.full and any(map(refuses_connection, logs.values()))):
                    child.terminate()                       # it removes its directory
                    output, _ = child.communicate(timeout=30)
                    return output, logs

    def _keep(self, role, name, work, logs):
        """What the failed scenario and the daemons said, for whoever looks."""
        target = RESULTS / "logs" / role / name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for log in (work / "logs").rglob("*.log"):
            shutil.copy(log, target / "console.log")
        for host, said in logs.items():
            (target / f"{host}.log").write_text(said)

    def close(self):
        for child in list(self.children):
            child.terminate()
        for child in list(self.children):
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def text(path):
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2, help="scenarios at a time: they have timers of seconds")
    parser.add_argument("--role", action="append", choices=list(ROLES), help="may be repeated; default: all of them")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--full", action="store_true", help="let a scenario run to its end also when the daemon refuses a connection of it")
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    tools()
    names = baseline()
    chosen = [n for n in names if not options.patterns or any(n.split("/")[0] == p or fnmatch.fnmatch(n, p) for p in options.patterns)]
    if not chosen:
        sys.exit(f"scenarios.py: no scenario fits {' '.join(options.patterns)}")
    if options.fresh:
        shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _f: sys.exit(128 + n))
    runner = Runner(max(1, options.jobs), options.full)
    try:
        for role in options.role or ROLES:
            runner.run(role, chosen)
    finally:
        runner.close()
    results = {role: json.loads((RESULTS / f"{role}.json").read_text()) for role in ROLES if (RESULTS / f"{role}.json").exists()}
    if set(results) == set(ROLES) and set(results["strongswan"]) == set(names):
        TABLE.write_text(report(names, results, participants, ROLES))
        print(f"written: {TABLE.relative_to(PROJECT)}")
    for role, found in results.items():
        print(f"{role:10} {sum(r['status'] == 'pass' for r in found.values())} of {len(found)} passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
