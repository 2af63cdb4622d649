"""libreswan in a Linux kernel of its own: pre-shared key and certificates, each end as initiator and as responder."""
import re
import shlex
import subprocess

import peers
from certificates import OPENSSL, Authority, chain, prove
from gateways import GatewayProcess
from kernel_peer import Answer, Guest, KernelScene
from lab import SBIN, LabError, wait_until
from scene import HA, HB, Skip, case, expect, note
from traffic import Pinger, wait_for_ping

# names of algorithms as libreswan has them
IKE = {"aes256gcm16-prfsha256-x25519": "aes_gcm256-sha2_256-dh31", "aes256-sha256-ecp256": "aes256-sha2_256-dh19"}
ESP = {"aes256gcm16": "aes_gcm256", "aes256gcm16-x25519": "aes_gcm256;dh31"}


class Libreswan(Guest, GatewayProcess):
    """pluto in the guest, with its database of NSS in the lab's directory."""

    own = False
    DAEMON = """mkdir -p /run/pluto
ipsec pluto --nofork --config $L/ipsec.conf --logfile $L/pluto.log >$L/pluto.out 2>&1 &
until ipsec whack --briefstatus >/dev/null 2>&1; do sleep 0.05; done
ipsec whack --listen >/dev/null"""

    def __init__(self, lab, role, *specs):
        self.require()
        try:
            peers.fetch_libreswan()
        except peers.PeerError as e:
            raise Skip(f"no libreswan: {e}") from None
        super().__init__(lab, role, specs, "libreswan")
        self.proof_lines, self.certificate, self.authorities = ("authby=secret",), None, ()

    @property
    def log_path(self):
        return self.dir / "pluto.log"

    def install(self, method, own, *authorities):
        """A certificate and how it signs, its intermediate authorities, and at last the root that the other end's must lead to."""
        self.certificate, self.authorities = own, authorities
        # without rightca it asks for no certificate as initiator, and so is sent none
        self.proof_lines = (f"authby={method}", f"leftcert={own.stem}", "sendca=all", "rightca=%same")

    def write(self):
        lines = ["config setup", f"\tnssdir={self.dir}/nss", f"\tsecretsfile={self.dir}/ipsec.secrets", "\tdnssec-enable=no", "\tuniqueids=no"]
        secrets = []
        for s in self.specs:
            # a name is one that is not to be looked up
            left, right = (f"@{x}" if re.search("[a-z]", x) else x for x in (s.local_id, s.remote_id))
            lines += [f"conn {s.name}", *(f"\t{line}" for line in (
                "auto=add", "ikev2=insist", f"left={s.local}", f"right={s.remote}", f"leftid={left}", f"rightid={right}", f"leftsubnet={s.local_net}",
                f"rightsubnet={s.remote_net}", f"ike={IKE[s.ike]}", f"esp={ESP[s.esp]}", f"pfs={'yes' if 'dh' in ESP[s.esp] else 'no'}", "rekey=no",
                f"encapsulation={'yes' if s.encap else 'auto'}", *self.proof_lines))]
            secrets.append(f'{left} {right} : PSK "{s.psk}"\n')
        (self.dir / "ipsec.conf").write_text("\n".join(lines) + "\n")
        secret = self.dir / "ipsec.secrets"
        secret.touch(0o600)
        secret.write_text("".join(secrets))

    def start(self):
        self.write()
        tree, database = shlex.quote(str(peers.LIBRESWAN)), shlex.quote(f"sql:{self.dir}/nss")
        (self.dir / "nss").mkdir()
        steps = ["mount --make-rprivate /", f"mount -t overlay overlay -o lowerdir={tree}/usr:/usr /usr", f"certutil -N -d {database} --empty-password"]
        if self.certificate:
            *between, root = self.authorities
            packed = self.dir / "own.p12"
            subprocess.run([OPENSSL, "pkcs12", "-export", "-in", str(self.certificate), "-inkey", str(self.certificate.with_suffix(".key")), "-name",
                            self.certificate.stem, *(["-certfile", str(chain(*between))] if between else []), "-passout", "pass:", "-out", str(packed)],
                           check=True, capture_output=True)
            steps += [f"pk12util -i {packed} -d {database} -W ''", f"certutil -A -d {database} -n root -t CT,, -i {root}"]
        self.boot(" && ".join(steps) + " && ", {"PATH": SBIN})
        for s in self.specs:
            if not wait_until(lambda: re.search(rf'"{s.name}": added ', self.log()), 15, 0.1):
                raise LabError(f"libreswan did not load {s.name}: {self.tail(15)}")
        return self

    def whack(self, *arguments, timeout=30):
        return Answer(*self.run(f"/usr/libexec/ipsec/whack {shlex.join(arguments)}", timeout))

    def up(self, name="branch", timeout=30):
        return self.whack("--name", name, "--initiate", timeout=timeout)

    def down(self, name="branch", timeout=30):
        return self.whack("--name", name, "--terminate", timeout=timeout)

    def rekey(self, what, name="branch"):
        """`what` is ipsec for the CHILD_SA, or ike."""
        return self.whack(f"--rekey-{what}", "--name", name)

    def states(self):
        return self.whack("--showstates").stdout

    def counts(self):
        text = self.states()
        return tuple(len(re.findall(rf"STATE_V2_ESTABLISHED_{kind}_SA\b", text)) for kind in ("IKE", "CHILD"))

    def sas(self):
        return [line for line in self.states().splitlines() if "STATE_V2" in line]

    def installed(self, name="branch"):
        return bool(re.search(rf'"{name}".*STATE_V2_ESTABLISHED_CHILD_SA', self.states()))


def rekeyed(scene, word, rekey, kind):
    """A rekey while pings go both ways: none is lost."""
    def done():
        return len(re.findall(rf" {kind} \S+ (?:with \S+ )?rekeyed:", scene.a.log()))

    pingers = [Pinger(scene.lab, role, source, destination) for role, source, destination in (("ha", HA, HB), ("hb", HB, HA))]
    try:
        before = done()
        answer = rekey()
        expect(answer.returncode == 0, f"{word}: exit {answer.returncode}: {answer.stdout[-300:]}")
        expect(wait_until(lambda: done() > before, 10, 0.1), f"{word}: nothing was rekeyed: {answer.stdout[-300:]}")
        sent = [len(p.sent) for p in pingers]
        wait_until(lambda: all(len(p.sent) > n + 10 for p, n in zip(pingers, sent)), 5)
    finally:
        for pinger in pingers:
            pinger.stop(1)
    # as responder libreswan sends by the new CHILD_SA with its response: what overtakes our half of a key exchange finds no SA
    early = set(re.findall(r"ESP with unknown SPI (\w+)", scene.a.log())) & set(re.findall(r"takes over, SPIs (\w+)_i", scene.a.log()))
    lost = sum(pinger.lost() for pinger in pingers)
    expect(lost <= (2 if early and "by us" in word else 0), f"{word}: {lost} of {sum(len(p.sent) for p in pingers)} pings lost")
    expect(wait_until(lambda: scene.a.counts() == (1, 1) == scene.b.counts(), 10, 0.2), f"{word}: not one of each: {scene.a.counts()}, {scene.b.states()}")


def exercise(scene, kind):
    """In each role: pings both ways, rekeys of the CHILD_SA by both ends, one of the IKE_SA by the other than began, deletion."""
    before = scene.b.errors()
    scene.a.start()
    for role in ("initiator", "responder"):
        scene.observer.kinds.clear()
        scene.connect(role)
        for sender, source, target in (("ha", HA, HB), ("hb", HB, HA)):
            # libreswan sets routes up after it says that the SA stands, and the guest looks up its neighbours
            expect(wait_for_ping(scene.lab, sender, source, target, 15) is not None, f"as {role}: no ping from {sender} answered")
        scene.expect_pings(10)

        rekeyed(scene, f"as {role}, CHILD_SA by us", lambda: scene.a.swanctl("--rekey", "--child", "branch"), "CHILD_SA")
        rekeyed(scene, f"as {role}, CHILD_SA by libreswan", lambda: scene.b.rekey("ipsec"), "CHILD_SA")
        if role == "initiator":
            rekeyed(scene, f"as {role}, IKE_SA by libreswan", lambda: scene.b.rekey("ike"), "IKE_SA")
        else:
            rekeyed(scene, f"as {role}, IKE_SA by us", lambda: scene.a.swanctl("--rekey", "--ike", "branch"), "IKE_SA")
        kinds, other = scene.observer.kinds, "esp-in-udp" if kind == "esp" else "esp"
        expect(kinds[kind] > 80 and not kinds[other], f"as {role}: not {kind} alone on the wire: {scene.observer.summary()}")
        one = scene.a if role == "initiator" else scene.b
        expect(one.down().returncode == 0, f"as {role}: down was refused")
        expect(wait_until(lambda: scene.a.counts() == (0, 0) == scene.b.counts(), 10, 0.2), f"as {role}: not deleted: {scene.a.counts()}, {scene.b.states()}")
    after = scene.b.errors()
    errors = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
    expect(not {k for k in errors if k.startswith("XfrmIn")}, f"the peer's kernel counts {errors}")
    expect(scene.a.stop() == 0, "no orderly end")
    note(f"both roles, {kind}, 6 rekeys, xfrm_stat {errors or 'without errors'}")


@case("libreswan-psk", 120, own=True)
def libreswan_psk(lab):
    """A pre-shared key, ESP as protocol 50, rekeys without a key exchange of their own."""
    exercise(KernelScene(lab, peer=Libreswan, raw_a=True, ike="aes256-sha256-ecp256"), "esp")


def certificates_case(kind, method, shown_as):
    @case(f"libreswan-certificates-{method}", 120, own=True)
    def run(lab):
        """Certificates of an intermediate authority that both ends send along, ESP in UDP, rekeys with a key exchange."""
        names = {"local_id_a": "a.test", "remote_id_a": "b.test", "local_id_b": "b.test", "remote_id_b": "a.test"}
        scene = KernelScene(lab, peer=Libreswan, peer_runs=False, esp="aes256gcm16-x25519", encap=True, **names)
        authority = Authority(lab.dir)
        scene.own, theirs = (authority.make(name, kind, [f"DNS:{name}.test"], by="ca-intermediate") for name in ("a", "b"))
        scene.b.install(method, theirs, authority.intermediate, authority.root)
        scene.b.start()
        prove(scene, authority)
        exercise(scene, "esp-in-udp")
        shown = [text.count(words) for text, words in ((scene.a.log(), "the peer by certificate 'O=Test, CN=b'"), (scene.b.log(), f"{shown_as} with SHA2_"))]
        expect(shown == [2, 2], f"certificates seen by us and by libreswan: {shown}")


# one each: with both methods allowed it would sign with an ECDSA key as if it were an RSA one
certificates_case("rsa2048", "rsasig", "RSA")
certificates_case("p256", "ecdsa", "ECDSA")
