"""strongSwan 6 as the peer: several key exchanges (RFC 9370), which Debian 12's 5.9 does not have.

Its root is made by debootstrap from Debian 13, in a minute and a half; so these cases are long ones.
"""
import shlex

import peers
from gateways import StrongSwan
from lab import wait_until
from scene import HA, HB, Scene, Skip, case, expect
from storms import Storm


class StrongSwan6(StrongSwan):
    """The same configuration under strongSwan 6, in a root of its own."""

    PLUGINS = StrongSwan.PLUGINS.replace("gmp ", "") + " ml"

    def start(self):
        try:
            root = peers.newer_root()
        except peers.PeerError as error:
            raise Skip(str(error)) from None
        here, root = shlex.quote(str(self.lab.dir)), shlex.quote(str(root))
        line = (f"mount --make-rprivate / && mount -t tmpfs tmpfs {root}/run && mount --rbind /dev {root}/dev && mount -t proc proc {root}/proc && "
                f"mkdir -p {root}{here} && mount --bind {here} {root}{here} && exec chroot {root} /usr/lib/ipsec/charon")
        self.spawn(["unshare", "-m", "sh", "-c", line], {"STRONGSWAN_CONF": f"{self.dir}/strongswan.conf"})
        self.reload()
        return self


KINDS = {
    "ike": ("aes256gcm16-prfsha256-x25519-ke1_ecp384-ke2_modp2048", "aes256gcm16"),
    "child": ("aes256gcm16-prfsha256-x25519", "aes256gcm16-x25519-ke1_ecp256"),
}


def several_key_exchanges(kind, role):
    ike, esp = KINDS[kind]

    @case(f"several-key-exchanges-{kind}-{role}", 120, own=True, long=True)
    def run(lab):
        """Comes up, and is rekeyed by either side."""
        scene = Scene(lab, peer=StrongSwan6, ike=ike, esp=esp).run().connect(role)
        scene.expect_pings()
        for gateway in (scene.a, scene.b):
            for what in (["--child", "branch"], ["--ike", "branch"]):
                before = rekeys(scene.a)
                answer = scene.a.cli("rekey", "branch", *(["branch"] if what[0] == "--child" else [])) if gateway is scene.a \
                    else gateway.swanctl("--rekey", *what)
                expect(answer.returncode == 0, f"rekey of {what}: {answer.stdout[-200:]}")
                expect(wait_until(lambda: rekeys(scene.a) > before, 10, 0.1), f"no rekey of {what[0]} by {gateway.log_name}")
                scene.expect_pings(3)
        expect(scene.a.counts() == (1, 1) and scene.b.counts() == (1, 1), f"left: {scene.a.counts()} {scene.b.counts()}")


def rekeys(gateway):
    return sum(1 for line in gateway.log().splitlines() if "rekeyed" in line)


for _kind in KINDS:
    for _role in ("initiator", "responder"):
        several_key_exchanges(_kind, _role)


@case("several-key-exchanges-storm", 120, own=True, long=True)
def storm(lab):
    """Both sides rekey everything at once, each time with further key exchanges."""
    scene = Scene(lab, peer=StrongSwan6, start_a="start", ike=KINDS["ike"][0], esp=KINDS["child"][1], child_rekey=3, ike_rekey=10)
    scene.run()
    expect(scene.expect_traffic(20) is not None, "no traffic")
    storm = Storm(scene, [(HA, HB)])
    wait_until(lambda: False, 45, 1)
    storm.stop()
    expect(storm.lost == 0, f"{storm.lost} of {storm.sent} pings lost")
