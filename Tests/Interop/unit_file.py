#!/usr/bin/env python3
"""systemd's own opinion of causewayd.service: no complaint, and an exposure below a limit."""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
MOST_EXPOSED = 2.5


def main():
    source = (PROJECT / "systemd/causewayd.service").read_text()
    with tempfile.TemporaryDirectory() as directory:
        unit = Path(directory) / "causewayd.service"
        # the programs are not installed here, and the manual pages neither
        text = re.sub(r"^Documentation=.*\n", "", source, flags=re.M)
        unit.write_text(re.sub(r"/usr/local/s?bin/causewayd?\b", "/bin/true", text))
        verify = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60)
        complaints = [x for x in verify.stderr.splitlines() if "causewayd.service" in x]
        if complaints:
            sys.exit("\n".join(complaints))
        security = subprocess.run(["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)], capture_output=True, text=True, timeout=60)
        match = re.search(r"exposure level .*: ([0-9.]+)", security.stdout)
        if not match:
            print("systemd-analyze security: not available here")
        elif float(match[1]) > MOST_EXPOSED:
            sys.exit(f"exposure {match[1]}, at most {MOST_EXPOSED} is accepted")
        else:
            print(f"exposure {match[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
