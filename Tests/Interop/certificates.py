"""Certificates and signatures against strongSwan: kinds of keys, chains, mixed proofs, what is refused and why."""
import json
import re
import subprocess

from gateways import StrongSwan, swanctl
from scene import Scene, case, expect

OPENSSL = "/usr/bin/openssl"
KINDS = {"rsa2048": ["RSA", "rsa_keygen_bits:2048"], "rsa3072": ["RSA", "rsa_keygen_bits:3072"], "p256": ["EC", "ec_paramgen_curve:P-256"],
         "p384": ["EC", "ec_paramgen_curve:P-384"], "p521": ["EC", "ec_paramgen_curve:P-521"], "ed25519": ["ED25519"]}


class Authority:
    """A root, an intermediate, and what they sign, in a directory of the lab."""

    def __init__(self, directory, name="ca"):
        self.dir, self.name = directory / name, name
        self.dir.mkdir()
        self.root = self.make(f"{name}-root", authority=True)
        self.intermediate = self.make(f"{name}-intermediate", authority=True, by=f"{name}-root")

    def openssl(self, *arguments):
        subprocess.run([OPENSSL, *map(str, arguments)], check=True, capture_output=True, cwd=self.dir)

    def make(self, name, kind="p256", names=(), authority=False, by=None, days=30, more=""):
        """Path of a certificate; its key is beside it as NAME.key."""
        algorithm, *options = KINDS[kind]
        key, request, made = (self.dir / f"{name}.{end}" for end in ("key", "csr", "pem"))
        self.openssl("genpkey", "-algorithm", algorithm, *(x for o in options for x in ("-pkeyopt", o)), "-out", key)
        key.chmod(0o600)
        lines = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"] if authority else ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature"]
        lines += [f"subjectAltName={','.join(names)}"] if names else []
        (self.dir / f"{name}.ext").write_text("\n".join([*lines, more, ""]))
        self.openssl("req", "-new", "-key", key, "-subj", f"/O=Test/CN={name}", "-out", request)
        signer = ["-CA", self.dir / f"{by}.pem", "-CAkey", self.dir / f"{by}.key", "-CAcreateserial"] if by else ["-signkey", key]
        self.openssl("x509", "-req", "-in", request, *signer, "-days", days, "-extfile", self.dir / f"{name}.ext", "-out", made)
        return made

    def revoke(self, certificate):
        """A list of the intermediate that names a certificate."""
        by, index = f"{self.name}-intermediate", self.dir / "index.txt"
        index.touch()
        (self.dir / "ca.cnf").write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ndefault_md=sha256\ndefault_crl_days=30\n")
        signer = ["-keyfile", self.dir / f"{by}.key", "-cert", self.dir / f"{by}.pem", "-config", self.dir / "ca.cnf"]
        if certificate:
            self.openssl("ca", *signer, "-revoke", certificate)
        self.openssl("ca", *signer, "-gencrl", "-out", self.dir / "list.pem")
        return self.dir / "list.pem"


def chain(*files):
    """One file of several."""
    made = files[0].with_suffix(".chain")
    made.write_text("".join(f.read_text() for f in files))
    return made


class CertifiedSwan(StrongSwan):
    """strongSwan with certificates: swanctl reads them from its directories."""
    MORE_PLUGINS = "pkcs8 revocation"
    SWANCTL_PLUGINS = "pem pkcs1 pkcs8 x509 curve25519"
    local_lines, remote_lines = ("auth = pubkey", "certs = own.pem"), ("auth = pubkey",)

    def install(self, own, *authorities):
        for directory, files in (("x509", [(own, "own.pem")]), ("x509ca", [(a, a.name) for a in authorities]), ("private", [(own.with_suffix(".key"), "own.key")])):
            (self.dir / directory).mkdir(exist_ok=True)
            for old in (self.dir / directory).iterdir():
                old.unlink()
            for source, name in files:
                (self.dir / directory / name).write_bytes(source.read_bytes())
                (self.dir / directory / name).chmod(0o600)


def certified(lab, kind_a="p256", kind_b="p256", **changes):
    """(scene, authority): both ends prove themselves by certificates of an intermediate authority."""
    changes = {"local_id_a": "a.test", "remote_id_a": "b.test", "local_id_b": "b.test", "remote_id_b": "a.test", **changes}
    scene = Scene(lab, peer=CertifiedSwan, peer_runs=False, **changes)
    authority = Authority(lab.dir)
    scene.own = authority.make("a", kind_a, ["DNS:a.test"], by="ca-intermediate")
    scene.theirs = authority.make("b", kind_b, ["DNS:b.test"], by="ca-intermediate")
    scene.b.install(scene.theirs, authority.root, authority.intermediate)
    prove(scene, authority)
    return scene, authority


def prove(scene, authority, *more, own=None, ca=None):
    """Write our side: a certificate with its intermediate, and the root alone that the peer's must lead to."""
    own = own or scene.own
    scene.a.proof_lines = [f"    certificate: {chain(own, authority.intermediate)}", f"    private-key: {own.with_suffix('.key')}",
                           f"    ca: {ca or authority.root}", *(f"    {line}" for line in more)]
    scene.a.write()


def both_roles(scene):
    for role in ("initiator", "responder"):
        scene.connect(role).expect_pings(2)
        expect(scene.a.down().returncode == 0, "down was refused")


@case("certificates", 120, own=True)
def certificates(lab):
    """Each kind of key, both roles, the peer's intermediate authority sent along or known."""
    scene, authority = certified(lab)
    scene.b.start()
    for number, kind in enumerate(KINDS):
        own = authority.make(f"a-{kind}", kind, ["DNS:a.test"], by="ca-intermediate")
        theirs = authority.make(f"b-{kind}", kind, ["DNS:b.test"], by="ca-intermediate")
        scene.b.install(theirs, authority.root, *([authority.intermediate] if number % 2 else []))
        scene.b.reload()
        # what strongSwan does not know of the chain it cannot send
        more = ["signature: rsa-pss-sha384"] if kind == "rsa3072" else []
        prove(scene, authority, *more, own=own, ca=authority.root if number % 2 else chain(authority.root, authority.intermediate))
        scene.a.start()
        both_roles(scene)
        scene.a.stop()
    expect("RSA_EMSA_PSS" in scene.b.log(), "strongSwan saw no signature by PSS")


@case("certificates-nat-fragments", 60, own=True)
def certificates_through_nat(lab):
    """Long chains of RSA in IKE fragments, behind a NAT, and an identity that is the certificate's subject."""
    scene, authority = certified(lab, "rsa3072", "rsa3072", nat="a", local_id_a="", remote_id_b="O=Test, CN=a")
    scene.b.start()
    scene.run().connect("initiator").expect_pings(3)
    expect("O=Test, CN=a" in scene.b.sas()[0]["text"], "strongSwan does not see the certificate's subject")
    expect("splitting IKE message" in scene.b.log(), "strongSwan sent no fragments")
    scene.expect_no_clear()


@case("certificates-mixed", 60, own=True)
def certificates_mixed(lab):
    """A certificate on one side and a key on the other, and a bare key."""
    scene, authority = certified(lab)
    # we prove ourselves by the certificate, strongSwan by the key
    scene.b.local_lines = ("auth = psk",)
    scene.b.write()
    scene.b.start()
    secret = lab.dir / "shared"
    secret.write_text(scene.spec_b.psk)
    secret.chmod(0o600)
    chained = chain(scene.own, authority.intermediate)
    scene.a.proof_lines = [f"    certificate: {chained}", f"    private-key: {scene.own.with_suffix('.key')}", f"    psk-file: {secret}"]
    scene.a.write()
    scene.a.start()
    both_roles(scene)
    scene.a.stop()
    # the other way round
    scene.b.local_lines, scene.b.remote_lines = CertifiedSwan.local_lines, ("auth = psk",)
    scene.b.write()
    scene.b.reload()
    scene.a.proof_lines = [f"    psk-file: {secret}", f"    ca: {authority.root}", ]
    scene.b.install(scene.theirs, authority.root, authority.intermediate)
    scene.b.reload()
    scene.a.write()
    scene.a.start()
    both_roles(scene)


@case("certificates-vici", 60, own=True)
def certificates_by_vici(lab):
    """The same by stock swanctl: swanctl.conf, x509, x509ca and private as they lie there."""
    scene, authority = certified(lab)
    scene.b.start()
    swan = CertifiedSwan(lab, "a", scene.spec_a)
    swan.install(scene.own, authority.root, authority.intermediate)
    # gateway.yaml names a connection of its own
    scene.a.specs = [scene.spec_a.but(name="elsewhere", remote="192.0.2.99", remote_net="10.99.0.0/24", start="passive")]
    scene.a.proof_lines = None
    scene.a.write()
    scene.a.start()
    text = swanctl(lab, "a", scene.a.socket, "--load-all", "--noprompt", "--file", str(swan.dir / "swanctl.conf"), directory=swan.dir).stdout
    expect("successfully loaded" in text and "loading" not in text, f"swanctl --load-all: {text[-600:]!r}")
    both_roles(scene)
    listed = scene.a.swanctl("--list-certs").stdout
    expect("CN=a" in listed and "has private key" in listed, f"swanctl --list-certs: {listed[-400:]}")


def refused(scene, words, line):
    """Who is refused is told so, and our explanation holds the words and the line that decides."""
    a = scene.a
    expect(a.up(timeout=15).returncode == 1, f"{words}: the tunnel came up")
    last = json.loads(a.cli("explain", "branch", "--json", "--last", "1").stdout)["conversations"][0]
    cause = last["cause"]
    expect(words in cause, f"{words!r} is not in {cause!r}")
    numbers = [int(n) for n in re.findall(r"gateway\.yaml:(\d+)", cause)]
    lines = a.config.read_text().splitlines()
    expect(any(line in lines[n - 1] for n in numbers), f"no line with {line!r} in {cause!r}")
    expect(not a.counts()[1] and not scene.b.counts()[1], "a CHILD_SA is left")


@case("certificates-refused", 90, own=True)
def certificates_refused(lab):
    """Another authority, another name, too old, revoked, another key, a wrong list: each with its reason, and mended it comes up."""
    scene, authority = certified(lab)
    other = Authority(lab.dir, "other")
    scene.b.start()
    scene.a.start()

    def reload():
        scene.a.reload()
        expect(scene.a.cli("status").returncode == 0, "the daemon is gone")

    prove(scene, authority, ca=other.root)
    reload()
    refused(scene, "unable to get", "ca:")
    prove(scene, authority, f"remote-certificate: {scene.own}")
    reload()
    refused(scene, "is not the one that", "remote-certificate:")
    prove(scene, authority, f"crl: {authority.revoke(scene.theirs)}")
    reload()
    refused(scene, "revoked", "ca:")
    prove(scene, authority, "revocation: strict")
    reload()
    refused(scene, "unable to get certificate CRL", "ca:")
    # strongSwan refuses us
    stranger = other.make("stranger", "p256", ["DNS:a.test"], by="other-intermediate")
    scene.a.proof_lines = [f"    certificate: {chain(stranger, other.intermediate)}", f"    private-key: {stranger.with_suffix('.key')}", f"    ca: {authority.root}"]
    scene.a.write()
    reload()
    refused(scene, "AUTHENTICATION_FAILED", "certificate:")
    # the peer's certificate has another name; then it is too old
    prove(scene, authority)
    reload()
    for name, days, words, line in (("c.test", 30, "certificate 'O=Test, CN=wrong30' is not one for 'b.test'", "remote-id:"), ("b.test", 0, "expired", "ca:")):
        wrong = authority.make(f"wrong{days}", "p256", [f"DNS:{name}"], by="ca-intermediate", days=days)
        scene.b.install(wrong, authority.root, authority.intermediate)
        scene.b.reload()
        refused(scene, words, line)
    scene.b.install(scene.theirs, authority.root, authority.intermediate)
    scene.b.reload()
    scene.connect("initiator").expect_pings(2)
