"""Peers that move, and gateways that send them elsewhere."""
from lab import TwoSites, wait_until
from scene import HA, HB, Scene, case, expect, last_line, note
from traffic import Pinger
from vici_cases import Loaded, answers, scene_of_loaded


@case("redirect-as-client", own=True)
def redirected(lab):
    """strongSwan sends us away (to itself: the laboratory has no third gateway); the new IKE_SA takes over without a loss."""
    scene = Scene(lab).run().connect("initiator")
    scene.expect_pings(3)
    before = scene.a.sas()[0]["id"] if hasattr(scene.a, "sas") else None
    answer = scene.b.swanctl("--redirect", "--ike", "branch", "--gateway", scene.spec_b.local)
    expect(answer.returncode == 0, f"--redirect: {last_line(answer.stdout)}")
    expect(wait_until(lambda: "redirects us to" in scene.a.log(), 5), "no line about the redirect")
    expect(wait_until(lambda: scene.a.counts() == (1, 1) and scene.b.counts() == (1, 1) and (not before or scene.a.sas()[0]["id"] != before), 30),
           f"left: {scene.a.counts()} {scene.b.counts()}")
    scene.expect_pings(5)


@case("redirect-as-gateway", own=True)
def redirects(lab):
    """We send strongSwan away by stock swanctl."""
    scene = scene_of_loaded(lab).connect("responder")
    scene.expect_pings(3)
    before = scene.b.sas()[0]["id"]
    answers(scene.a, "--redirect", "--peer-ip", "192.0.2.0/24", "--gateway", scene.spec_a.local, words=["redirect completed successfully"])
    expect(wait_until(lambda: scene.b.sas() and scene.b.sas()[0]["id"] != before, 15), "the peer did not come anew")
    expect("redirected" in scene.b.log(), "the peer does not speak of it")
    scene.expect_pings(5)


def second_address(lab, role):
    """Give a gateway another outer address; what it is."""
    address = {"a": "192.0.2.101", "b": "192.0.2.102"}[role]
    lab.run(role, f"ip addr add {address}/24 dev out0")
    return address


def mobike_case(mover, initiator):
    @case(f"mobike-{'own' if mover == 'a' else 'peer'}-moves-as-{'initiator' if initiator == 'a' else 'responder'}", own=True)
    def run(lab):
        """One end's address goes away while it has another one: the same SAs carry on."""
        scene = Scene(lab, peer_runs=False, mobike=True)
        scene.a.connection_lines = ("mobike: true",)
        scene.a.any_address = True
        scene.a.write()
        scene.b.start()
        scene.run().connect("initiator" if initiator == "a" else "responder")
        scene.expect_pings(3)
        before = scene.b.sas()[0]
        moved = second_address(lab, mover)
        old = (scene.spec_a if mover == "a" else scene.spec_b).local
        lab.run(mover, f"ip addr del {old}/24 dev out0; ip addr show dev out0 | grep -q {moved} || ip addr add {moved}/24 dev out0")
        expect(wait_until(lambda: scene.b.sas() and moved in scene.b.sas()[0]["text"] and f"goes by" in scene.a.log(), 20),
               f"the peer has {scene.b.sas()}")
        scene.expect_traffic(10)
        scene.expect_pings(5)
        expect(scene.b.sas()[0]["id"] == before["id"], "another IKE_SA")
        expect(scene.a.counts() == (1, 1) and scene.b.counts() == (1, 1), f"left: {scene.a.counts()} {scene.b.counts()}")


for _mover in "ab":
    for _initiator in "ab":
        mobike_case(_mover, _initiator)


class TwoUplinks(TwoSites):
    """Gateway a has a second interface to the same world, with an address of another network and a worse default route."""

    def _outer(self, side):
        super()._outer(side)
        if side == "a":
            self.lab.wire("a", "out1", "net", "pa1")
            self.lab.run("a", "ip addr add 203.0.113.7/24 dev out1; ip route add default via 203.0.113.254 metric 200")
            self.lab.run("net", "ip addr add 203.0.113.254/24 dev pa1; sysctl -qw net.ipv4.ip_forward=1")


@case("mobike-lost-interface", 90, own=True)
def lost_interface(lab):
    """An interface goes down, the other one carries on; then back."""
    scene = Scene(lab, sites=TwoUplinks(lab), peer_runs=False, mobike=True)
    scene.a.any_address = True
    scene.a.write()
    scene.b.start()
    scene.run().connect("initiator")
    scene.expect_pings(3)
    before = scene.b.sas()[0]["id"]
    pinger = Pinger(lab, "ha", HA, HB)
    lab.run("a", "ip link set out0 down")
    expect(wait_until(lambda: "203.0.113.7" in scene.b.sas()[0]["text"], 20), f"the peer has {scene.b.sas()}")
    scene.expect_traffic(10)
    lab.run("a", "ip link set out0 up; ip addr replace 192.0.2.1/24 dev out0; ip route replace default via 192.0.2.254; ip link set out1 down")
    expect(wait_until(lambda: "192.0.2.1[" in scene.b.sas()[0]["text"], 20), f"the peer has {scene.b.sas()}")
    scene.expect_traffic(10)
    pinger.stop()
    note(f"{pinger.lost()} of {len(pinger.sent)} pings lost in two moves")
    expect(scene.b.sas()[0]["id"] == before and scene.a.counts() == (1, 1), "another IKE_SA")


class Childless(Loaded):
    """causewayd with childless = force."""

    def write(self):
        super().write()
        path = self.dir / "swanctl.conf"
        path.write_text(path.read_text().replace("    encap = ", "    childless = force\n    encap = "))


def childless_case(role):
    @case(f"childless-{role}", own=True)
    def run(lab):
        """No CHILD_SA in IKE_AUTH, one by CREATE_CHILD_SA."""
        scene = Scene(lab)
        scene.a = Childless(lab, "a", scene.spec_a)
        if role == "responder":
            path = scene.b.dir / "swanctl.conf"
            path.write_text(path.read_text().replace("    encap = ", "    childless = force\n    encap = "))
            scene.b.reload()
        scene.run().connect(role).expect_pings(5)
        expect("CREATE_CHILD_SA" in scene.b.log(), "the CHILD_SA came with IKE_AUTH")


for _role in ("initiator", "responder"):
    childless_case(_role)


class Reauthenticated(Loaded):
    """causewayd whose peers have to prove their identity every 15 s."""

    def write(self):
        super().write()
        path = self.dir / "swanctl.conf"
        path.write_text(path.read_text().replace("    encap = ", "    reauth_time = 15s\n    encap = "))


@case("auth-lifetime", 90, own=True)
def auth_lifetime(lab):
    """strongSwan heeds our AUTH_LIFETIME (RFC 4478)."""
    scene = Scene(lab)
    scene.a = Reauthenticated(lab, "a", scene.spec_a)
    # strongSwan begins over_time earlier: with more of it than we grant it would begin at once, again and again.
    path = scene.b.dir / "swanctl.conf"
    path.write_text(path.read_text().replace("over_time = 3600s", "over_time = 5s"))
    scene.b.reload()
    scene.run().connect("responder")
    before = scene.b.sas()[0]["id"]
    expect("AUTH_LFT" in scene.b.log(), "no AUTH_LIFETIME was sent")
    expect(wait_until(lambda: scene.b.sas() and scene.b.sas()[-1]["id"] != before, 40), "nobody authenticated anew")
    scene.expect_traffic(10)
