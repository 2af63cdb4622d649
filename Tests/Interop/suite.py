#!/usr/bin/env python3
"""`make test`: build, lint, unit tests, interop cases. Prints the minutes of each group; fails over 40.

  suite.py [--long]       --long: the interop cases five times more, one at a time; the first time storms and outages of minutes
"""
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
SWIFT = os.environ.get("SWIFT", "swift")
RELEASE = ["-c", "release", "-Xswiftc", "-enable-testing"]
LIMIT_MINUTES = 40


class Suite:
    """Groups that run one after the other, each with its minutes and counts."""

    def __init__(self):
        self.groups, self.passed, self.failed, self.skipped = [], 0, 0, 0

    def run(self, name, argv, count, environment=None):
        """Run a command; `count` makes (passed, failed, skipped) of its output and exit status."""
        print(f"\n=== {name}: {' '.join(argv)}", flush=True)
        started, text = time.monotonic(), []
        try:
            child = subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                     errors="replace", env={**os.environ, **(environment or {})})
            for line in child.stdout:
                text.append(line)
                if shown(name, line):
                    print(line, end="", flush=True)
            status = child.wait()
        except OSError as e:
            print(e)
            status = 127
        passed, failed, skipped = count("".join(text), status)
        if status and not failed:
            failed = 1                                          # it crashed before it could count
        if failed and not any(shown(name, line) for line in text):
            print("".join(text[-40:]), end="")
        self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped
        self.groups.append((name, (time.monotonic() - started) / 60, passed, failed, skipped))
        return not failed

    def report(self):
        print("\n=== minutes by group")
        for name, minutes, passed, failed, skipped in self.groups:
            extra = f", {skipped} skipped" if skipped else ""
            print(f"{name:12} {minutes:5.1f}   {passed} passed, {failed} failed{extra}")
        total = sum(group[1] for group in self.groups)
        print(f"{'total':12} {total:5.1f}")
        return total


def shown(name, line):
    """Unit tests pass silently; all else is shown as it comes."""
    if name != "units":
        return not re.match(r"^\[\d+/\d+\] ", line)
    return bool(re.search(r"✘|failed|skipp|error:|warning:|^Test run|Test run with|↳|[Ff]atal", line)) and "passed after" not in line \
        or "Test run with" in line


def count_one(text, status):
    """A command that succeeds or fails as a whole."""
    return (0, 1, 0) if status else (1, 0, 0)


def count_units(text, status):
    # "✔ Test name() passed after", "✘ Test name(_:) with 3 test cases failed after", "➜ Test name() skipped"
    results = re.findall(r"^\S+ +Test (?!run |case )(?:.*?) (passed|failed|skipped)\b", text, re.M)
    return results.count("passed"), results.count("failed"), results.count("skipped")


def count_cases(text, status):
    match = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
    return tuple(int(n or 0) for n in match[-1]) if match else (0, 1, 0)


def main():
    if sys.argv[1:] not in ([], ["--long"]):
        sys.exit(__doc__)
    suite, interop = Suite(), [sys.executable, "Tests/Interop/run.py"]
    sys.stdout.reconfigure(errors="replace")
    if suite.run("build", [SWIFT, "build", *RELEASE, "--build-tests"], count_one):
        suite.run("lint", [SWIFT, "format", "lint", "--strict", "-r", "-p", "Package.swift", "Sources", "Tests"], count_one)
        if shutil.which("systemd-analyze"):
            suite.run("systemd", [sys.executable, "Tests/Interop/unit_file.py"], count_one)
        suite.run("units", [SWIFT, "test", *RELEASE, "--skip-build", "--disable-xctest"], count_units)
        suite.run("interop", interop, count_cases)
        suite.run("demo", [sys.executable, "Tests/Interop/demo.py"], count_one)
    minutes = suite.report()
    if minutes > LIMIT_MINUTES:
        print(f"longer than {LIMIT_MINUTES} minutes")
        suite.failed += 1
    if sys.argv[1:] == ["--long"] and not suite.failed:
        for number in range(1, 6):
            suite.run(f"interop {number}", [*interop, "--jobs", "1"], count_cases, {"CAUSEWAY_LONG": "1"} if number == 1 else None)
        suite.report()
    print(f"{suite.passed} passed, {suite.failed} failed")
    return 1 if suite.failed else 0


if __name__ == "__main__":
    sys.exit(main())
