"""Updown scripts of a tunnel that stock swanctl loaded."""
import os
import re
import time

from lab import wait_until
from scene import case, expect
from vici_cases import scene_of_loaded

# The peer's identity is what an attacker would choose. Here it is harmless, and is printed as it came.
SCRIPT = """#!/bin/sh
{ env | sort; ls -l /proc/self/fd | wc -l; echo END; } >> %s
echo "output of $PLUTO_VERB"
"""
WANTED = {"PLUTO_VERSION": "1.1", "PLUTO_CONNECTION": "branch", "PLUTO_INTERFACE": "out0", "PLUTO_REQID": "1", "PLUTO_PROTO": "esp",
          "PLUTO_ME": "192.0.2.1", "PLUTO_MY_ID": "192.0.2.1", "PLUTO_MY_CLIENT": "10.1.0.0/24", "PLUTO_MY_PORT": "0", "PLUTO_MY_PROTOCOL": "0",
          "PLUTO_PEER": "192.0.2.2", "PLUTO_PEER_ID": "192.0.2.2", "PLUTO_PEER_CLIENT": "10.2.0.0/24", "PLUTO_PEER_PORT": "0",
          "PLUTO_PEER_PROTOCOL": "0", "PLUTO_UDP_ENC": "4500", "CAUSEWAY_CONNECTION": "branch", "CAUSEWAY_INTERFACE": "causeway0"}
# what a shell adds by itself
SHELL = {"PWD", "OLDPWD", "SHLVL", "_"}


class Calls:
    """What the script was told, call by call."""

    def __init__(self, lab):
        self.file = lab.dir / "updown.txt"
        self.script = lab.dir / "updown.sh"
        self.script.write_text(SCRIPT % self.file)
        self.script.chmod(0o755)

    def all(self):
        text = self.file.read_text() if self.file.exists() else ""
        return [dict(x.split("=", 1) for x in call.splitlines() if "=" in x) for call in text.split("END\n")[:-1]]

    def verbs(self):
        return [c["PLUTO_VERB"] for c in self.all()]


@case("updown-script", 90, own=True)
def updown_script(lab):
    """Up and down with their variables, nothing at a rekey, one that hangs holds nobody up, a down at the end of the daemon."""
    calls = Calls(lab)
    scene = scene_of_loaded(lab)
    a = scene.a
    conf = a.dir / "swanctl.conf"
    plain = conf.read_text()
    conf.write_text(re.sub(r"(children \{\s*branch \{)", rf"\1\n        updown = {calls.script}", plain))
    expect(f"updown = {calls.script}" in conf.read_text(), "the lab's swanctl.conf has another shape")
    a.reload()
    scene.connect()
    expect(wait_until(lambda: len(calls.all()) == 1, 5), f"no call: {a.tail()}")
    up = calls.all()[0]
    told = {k: v for k, v in up.items() if k not in SHELL}
    expect(told.pop("PLUTO_VERB") == "up-client" and told.pop("PLUTO_UNIQUEID").isdigit() and told.pop("PATH").startswith("/usr/"), f"variables: {up}")
    expect(told == WANTED, f"variables that differ: {set(told.items()) ^ set(WANTED.items())}")
    expect(wait_until(lambda: "updown: output of up-client" in a.log(), 3) and "updown up-client ended with status 0" in a.log(), "nothing of it in the log")
    for what in ("--child", "--ike"):
        expect(a.swanctl("--rekey", what, "branch").returncode == 0, f"rekey of {what}")
        time.sleep(1.5)
    expect(calls.verbs() == ["up-client"], f"calls after rekeys: {calls.verbs()}")
    expect(a.swanctl("--terminate", "--child", "branch").returncode == 0, "terminate was refused")
    expect(wait_until(lambda: calls.verbs() == ["up-client", "down-client"], 5), f"calls after the end: {calls.verbs()}")
    down = {**calls.all()[1], "PLUTO_VERB": "up-client"}
    expect({k: v for k, v in down.items() if k not in SHELL} == {k: v for k, v in up.items() if k not in SHELL}, f"down: {down}")
    scene.connect("responder")
    expect(wait_until(lambda: len(calls.all()) == 3, 5), f"no call as responder: {calls.verbs()}")
    expect(a.stop() == 0, "the daemon did not end in order")
    expect(calls.verbs() == ["up-client", "down-client"] * 2, f"calls after the end of the daemon: {calls.verbs()}")
    expect(os.stat(calls.file).st_size > 0 and "stopped" in a.log(), "no end in the log")
