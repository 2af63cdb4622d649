"""Virtual addresses that strongSwan gives us from its pools."""
import json

from gateways import StrongSwan
from lab import wait_until
from scene import HB, Scene, case, expect
from traffic import ping


class WithPool(StrongSwan):
    """strongSwan that gives addresses and name servers."""

    def write(self):
        super().write()
        path = self.dir / "swanctl.conf"
        text = path.read_text().replace("    local {", "    pools = four, six\n    local {", 1)
        text += "pools {\n  four { addrs = 10.3.0.0/28\n dns = 10.2.0.53 }\n  six { addrs = fec3::/120\n dns = fec2::53 }\n}\n"
        path.write_text(text)

    def pools(self):
        return self.swanctl("--list-pools", "--leases").stdout


@case("virtual-addresses", 60, own=True)
def virtual_addresses(lab):
    """Of both families, on the TUN with routes, kept over rekeys, asked for again, and taken back at the end."""
    scene = Scene(lab, peer=WithPool, peer_runs=False)
    scene.b.specs = [scene.spec_b.but(remote_net="dynamic", local_net="10.2.0.0/24,fec2::/64")]
    scene.b.write()
    # strongSwan wants an address of its own in what it routes
    lab.run("b", "ip address add fec2::1/128 dev lo")
    scene.b.start()
    scene.a.connection_lines = ("vips: [any, any6]",)
    scene.a.write()
    # the tunnel's local side is the virtual address where it names none
    text = scene.a.config.read_text()
    scene.a.config.write_text(text.replace("local: [10.1.0.0/24], remote: [10.2.0.0/24]", "remote: [10.2.0.0/24, 'fec2::/64']"))
    scene.run()

    def addresses():
        found = json.loads(lab.run("a", "ip -j address show causeway0"))[0]["addr_info"]
        return {a["local"] for a in found if a["prefixlen"] in (32, 128) and not a["local"].startswith("fe80")}

    expect(scene.a.up().returncode == 0, "up failed")
    expect(addresses() == {"10.3.0.1", "fec3::1"}, f"on the TUN: {addresses()}")
    listed = scene.a.swanctl("--list-sas", "--raw").stdout
    expect("local-vips=[10.3.0.1 fec3::1]" in listed and "local-ts=[10.3.0.1/32 fec3::1/128]" in listed, listed[-600:])
    expect("local-dns=[10.2.0.53 fec2::53]" in listed, listed[-600:])
    sent, lost = ping(lab, "a", "10.3.0.1", HB, 3)
    expect(lost == 0, f"{lost} of {sent} pings from the virtual address lost")
    route = lab.run("a", f"ip route get {HB}")
    expect("src 10.3.0.1" in route, f"this machine's own traffic has another source: {route}")
    for what in ([], ["branch"]):
        expect(scene.a.cli("rekey", "branch", *what).returncode == 0, "the rekey failed")
    expect(addresses() == {"10.3.0.1", "fec3::1"}, f"after the rekeys: {addresses()}")
    expect(ping(lab, "a", "10.3.0.1", HB, 2)[1] == 0, "pings lost after the rekeys")
    expect(scene.a.down().returncode == 0, "down failed")
    expect(wait_until(lambda: not addresses(), 3), f"left on the TUN: {addresses()}")
    # another client takes the next ones; we ask for ours again
    expect(scene.a.up().returncode == 0, "the second up failed")
    expect(addresses() == {"10.3.0.1", "fec3::1"}, f"the second time: {addresses()}")
    # what somebody else put there is none of ours
    lab.run("a", "ip address add 169.254.21.2/32 dev causeway0")
    # a crash leaves them; the next start takes them away before it asks
    scene.a.kill()
    scene.a.start()
    expect(wait_until(lambda: addresses() == {"169.254.21.2"}, 3), f"after a crash: {addresses()}")
    expect(scene.a.up().returncode == 0, "up after a crash failed")
    expect(len(addresses()) == 3, f"after a crash and up: {addresses()}")


@case("virtual-addresses-none", 30, own=True)
def no_virtual_address(lab):
    """A peer without a pool for us: the reason and the line that decides."""
    scene = Scene(lab, peer_runs=False)
    scene.b.specs = [scene.spec_b.but(remote_net="0.0.0.0/0")]
    scene.b.write()
    scene.b.start()
    scene.a.connection_lines = ("vips: [any]",)
    scene.a.write()
    text = scene.a.config.read_text()
    scene.a.config.write_text(text.replace("local: [10.1.0.0/24], ", ""))
    scene.run()
    answer = scene.a.up()
    expect(answer.returncode == 1, "up succeeded")
    line = scene.a.refusal("none of the virtual addresses") or scene.a.refusal("INTERNAL_ADDRESS_FAILURE")
    expect(line, f"no reason in the log: {scene.a.tail()}")
