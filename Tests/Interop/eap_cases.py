"""EAP and several proofs of identity against strongSwan."""
from certificates import CertifiedSwan, Authority, certified, chain, prove
from lab import wait_until
from newer_peer import StrongSwan6
from scene import case, expect

PASSWORD = "Ar3etTnp-of-carol"


class EAPSwan(CertifiedSwan):
    """strongSwan that asks for EAP, with accounts."""
    MORE_PLUGINS = CertifiedSwan.MORE_PLUGINS + " md4 md5 eap-identity eap-md5 eap-mschapv2 eap-tls"
    connection_lines = ()

    def write(self):
        super().write()
        settings = self.dir / "strongswan.conf"
        settings.write_text(settings.read_text().replace("cfg = 2", "cfg = 2\n      tls = 2"))
        path = self.dir / "swanctl.conf"
        text = path.read_text() + f'secrets {{\n  eap-carol {{\n    id = carol\n    secret = "{PASSWORD}"\n  }}\n}}\n'
        path.write_text(text)


def scene_with(lab, local, remote, *lines, methods="", **changes):
    """strongSwan with these sections; our side with its certificate's files and more lines."""
    scene, authority = certified(lab, peer=EAPSwan, **changes)
    scene.password = lab.dir / "password"
    scene.password.write_text(PASSWORD + "\n")
    scene.password.chmod(0o600)
    scene.b.local_lines, scene.b.remote_lines = local, remote
    scene.b.write()
    scene.b.start()
    scene.a.proof_lines = [f"    {line}" for line in lines]
    return scene, authority


def by_password(scene, authority, method, *more):
    return [f"    ca: {authority.root}", f"    eap: [{method}]", "    eap-id: carol", f"    eap-password-file: {scene.password}", *(f"    {m}" for m in more)]


def connects(scene, times=1):
    for _ in range(times):
        scene.connect("initiator").expect_pings(2)
        expect(scene.a.down().returncode == 0, "down was refused")


@case("eap", 90, own=True)
def eap(lab):
    """MSCHAPv2 and MD5 by name and password, TLS by certificates, to a gateway with a certificate; a rekey; what is refused and why."""
    scene, authority = scene_with(lab, ("auth = pubkey", "certs = own.pem"), ("auth = eap-mschapv2", "eap_id = %any"))
    scene.a.proof_lines = by_password(scene, authority, "mschapv2")
    scene.a.write()
    scene.a.start()
    scene.connect("initiator").expect_pings(2)
    for what in ([], ["branch"]):
        expect(scene.a.cli("rekey", "branch", *what).returncode == 0, "the rekey failed")
    scene.expect_pings(2)
    expect("remote-eap-id=carol" in scene.b.swanctl("--list-sas", "--raw").stdout, "strongSwan knows nobody by EAP")
    expect(scene.a.down().returncode == 0, "down was refused")
    # a wrong password, and then the right one
    scene.password.write_text("another\n")
    scene.a.reload()
    answer = scene.a.up()
    expect(answer.returncode != 0 and "eap-refused" in scene.a.log() and "wrong user name or password" in answer.stdout, answer.stdout[-400:])
    scene.password.write_text(PASSWORD + "\n")
    scene.a.reload()
    connects(scene)
    # a method that is not allowed here
    scene.a.proof_lines = by_password(scene, authority, "md5")
    scene.a.write()
    scene.a.reload()
    answer = scene.a.up()
    expect(answer.returncode != 0 and "eap-method" in scene.a.log(), answer.stdout[-400:])
    for method in ("md5", "tls"):
        scene.b.remote_lines = (f"auth = eap-{method}", "eap_id = %any" if method == "md5" else "")
        scene.b.write()
        scene.b.reload()
        scene.a.proof_lines = by_password(scene, authority, method)
        if method == "tls":
            chained = chain(scene.own, authority.intermediate)
            scene.a.proof_lines = [f"    ca: {authority.root}", "    eap: [tls]", f"    certificate: {chained}", f"    private-key: {scene.own.with_suffix('.key')}"]
        scene.a.write()
        scene.a.reload()
        connects(scene)
    scene.expect_no_clear()


@case("eap-only", 60, own=True)
def eap_only(lab):
    """TLS alone proves both ends (RFC 5998), a server of another authority is not believed."""
    scene, authority = scene_with(lab, ("auth = eap-tls", "certs = own.pem"), ("auth = eap-tls",))
    chained = chain(scene.own, authority.intermediate)
    lines = ["    eap: [tls]", f"    certificate: {chained}", f"    private-key: {scene.own.with_suffix('.key')}"]
    scene.a.proof_lines = [f"    ca: {authority.root}", "    eap-only: true", *lines]
    scene.a.write()
    scene.a.start()
    connects(scene)
    expect("authentication of 'b.test' (myself) with EAP" in scene.b.log(), "not by EAP alone")
    other = Authority(lab.dir, "other")
    scene.a.proof_lines = [f"    ca: {other.root}", "    eap-only: true", *lines]
    scene.a.write()
    scene.a.reload()
    answer = scene.a.up()
    expect(answer.returncode != 0 and "eap-server" in scene.a.log(), answer.stdout[-400:])
    # without the line the peer must prove itself first
    scene.a.proof_lines = [f"    ca: {authority.root}", *lines]
    scene.a.write()
    scene.a.reload()
    answer = scene.a.up()
    expect(answer.returncode != 0, "EAP alone was enough")


@case("several-proofs", 90, own=True)
def several_proofs(lab):
    """A certificate and a key of each side, a certificate and a password; both roles (RFC 4739)."""
    scene, authority = certified(lab, peer=EAPSwan)
    secret = lab.dir / "shared"
    secret.write_text(scene.spec_b.psk)
    secret.chmod(0o600)
    text = (scene.b.dir / "swanctl.conf").read_text()

    def theirs(local, remote):
        """A second section of each side, if it has one."""
        made = text
        for side, more, identity in (("local", local, scene.spec_b.local_id), ("remote", remote, scene.spec_b.remote_id)):
            if more:
                made = made.replace(f"    {side} {{", f'    {side}-2 {{\n      round = 2\n      {more}\n      id = "{identity}"\n    }}\n    {side} {{\n      round = 1', 1)
        (scene.b.dir / "swanctl.conf").write_text(made)

    theirs("auth = psk", "auth = psk")
    scene.b.start()
    more = [f"psk-file: {secret}", "proofs: [certificate, psk]", "remote-proofs: [certificate, psk]"]
    prove(scene, authority, *more)
    scene.a.start()
    for role in ("initiator", "responder"):
        scene.connect(role).expect_pings(2)
        expect(scene.a.down().returncode == 0, "down was refused")
        expect(wait_until(lambda: not scene.b.sas(), 5), "left with the peer")
    # one proof too few
    prove(scene, authority, f"psk-file: {secret}", "remote-proofs: [certificate, psk]")
    scene.a.reload()
    expect(scene.a.up().returncode != 0, "up with half of the proofs")
    expect(scene.b.up().returncode != 0, "up by the peer with half of the proofs")
    # a certificate, and a password behind it
    theirs("", "auth = eap-mschapv2\n      eap_id = %any")
    scene.b.reload()
    scene.password = lab.dir / "password"
    scene.password.write_text(PASSWORD)
    scene.password.chmod(0o600)
    prove(scene, authority, "proofs: [certificate, eap]", "eap: [mschapv2]", "eap-id: carol", f"eap-password-file: {scene.password}")
    scene.a.reload()
    connects(scene)


class EAPSwan6(StrongSwan6, EAPSwan):
    """strongSwan 6, which makes the key of EAP-TLS by RFC 9190 with TLS 1.3; 5.9 did as a draft said."""
    PLUGINS = StrongSwan6.PLUGINS

    def write(self):
        super().write()
        path = self.dir / "strongswan.conf"
        path.write_text(path.read_text() + "libtls {\n  version_max = 1.3\n}\n")


@case("eap-tls-1.3", 60, own=True, long=True)
def eap_tls_13(lab):
    """TLS 1.3 alone proves both ends (RFC 9190, RFC 5998)."""
    scene, authority = certified(lab, peer=EAPSwan6)
    scene.b.local_lines, scene.b.remote_lines = ("auth = eap-tls", "certs = own.pem"), ("auth = eap-tls",)
    scene.b.write()
    scene.b.start()
    chained = chain(scene.own, authority.intermediate)
    scene.a.proof_lines = [f"    ca: {authority.root}", "    eap-only: true", "    eap: [tls]", f"    certificate: {chained}", f"    private-key: {scene.own.with_suffix('.key')}"]
    scene.a.write()
    scene.a.start()
    connects(scene, 2)
    expect("negotiated TLS 1.3" in scene.b.log(), "not TLS 1.3")
