"""Long IKE messages where the network drops IP fragments, and where it drops long packets without a word (RFC 7383)."""
from gateways import StrongSwan
from scene import Scene, case, expect

# So many selectors that both IKE_AUTH messages are longer than a packet.
SELECTORS = ["10.2.0.0/24[icmp]", *(f"10.2.0.0/24[tcp/{port}]" for port in range(8000, 8100))]
LONG = {"more_a": {"branch": ("10.1.0.0/24", ",".join(f'"{s}"' for s in SELECTORS))}, "more_b": {"branch": (",".join(SELECTORS), "10.1.0.0/24")}}


class SmallFragments(StrongSwan):
    """strongSwan does not find out what a path carries: it has to be told."""

    def write(self):
        super().write()
        path = self.dir / "strongswan.conf"
        path.write_text(path.read_text().replace("charon {\n", "charon {\n  fragment_size = 576\n", 1))


def drop(scene, rule):
    """Let both gateways' networks drop what `rule` says, before anything is reassembled."""
    for role in ("a", "b"):
        scene.lab.run(role, f"nft 'add table inet narrow; add chain inet narrow in {{ type filter hook prerouting priority -500; }}; "
                            f"add rule inet narrow in {rule} counter drop'")


def dropped(scene, role):
    text = scene.lab.run(role, "nft list chain inet narrow in")
    return int(text.split("counter packets ")[1].split()[0])


def fragments_case(role):
    @case(f"ike-fragments-{role}", own=True)
    def run(lab):
        scene = Scene(lab, **LONG)
        drop(scene, "ip frag-off & 0x3fff != 0")
        scene.run().connect(role).expect_pings(5)
        expect(not dropped(scene, "a") and not dropped(scene, "b"), "IP cut a message")


for _role in ("initiator", "responder"):
    fragments_case(_role)


@case("ike-fragments-narrow", own=True)
def narrow(lab):
    """What is longer than 800 octets is lost: ours come down to 576 by themselves."""
    scene = Scene(lab, peer=SmallFragments, **LONG)
    drop(scene, "udp dport { 500, 4500 } meta length > 800")
    scene.run().connect("initiator").expect_pings(5)
    expect(dropped(scene, "b") >= 2, "nothing was lost on the way to the peer")


@case("ike-fragments-no", own=True)
def refused(lab):
    """fragmentation: no: IP's fragments carry the messages."""
    scene = Scene(lab, **LONG)
    scene.a.connection_lines = ("fragmentation: no",)
    scene.a.write()
    scene.run().connect("initiator").expect_pings(5)
