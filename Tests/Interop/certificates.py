"""Certificates and signatures against strongSwan: kinds of keys, chains, mixed proofs, what is refused and why."""
import hashlib
import json
import re
import subprocess

from gateways import StrongSwan, swanctl
from lab import wait_until
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


class Publisher:
    """An HTTP server with lists and an OCSP responder, on the peer's machine."""

    def __init__(self, scene, authority):
        self.lab, self.authority, self.where = scene.lab, authority, scene.spec_b.local
        self.index = authority.dir / "index.txt"
        self.index.touch()
        self.process = {}

    @property
    def points(self):
        """Lines of a certificate's extensions that name both."""
        return f"crlDistributionPoints=URI:http://{self.where}:8080/list.der\nauthorityInfoAccess=OCSP;URI:http://{self.where}:8081\n"

    @property
    def list_only(self):
        return f"crlDistributionPoints=URI:http://{self.where}:8080/list.der\n"

    def register(self, certificate):
        """Enter a certificate as valid: a responder knows what the index has."""
        serial = subprocess.run([OPENSSL, "x509", "-in", str(certificate), "-noout", "-serial"], check=True, capture_output=True, text=True).stdout
        with self.index.open("a") as index:
            index.write(f"V\t350101000000Z\t\t{serial.strip().split('=')[1]}\tunknown\t/O=Test/CN={certificate.stem}\n")

    def publish(self, *revoked):
        """Make the list anew; the responder reads its index as well."""
        for certificate in revoked or (None,):
            made = self.authority.revoke(certificate)
        self.authority.openssl("crl", "-in", made, "-outform", "DER", "-out", self.authority.dir / "list.der")

    def serve_lists(self):
        self.process["lists"] = self.lab.spawn("b", ["/usr/bin/python3", "-m", "http.server", "8080", "--directory", str(self.authority.dir)], "http.log")
        expect(wait_until(lambda: self.lab.call("b", ["sh", "-c", f"echo | timeout 1 bash -c 'cat > /dev/tcp/{self.where}/8080'"]).returncode == 0, 5, 0.2),
               "no HTTP server")

    def answer(self):
        ca = self.authority.dir / f"{self.authority.name}-intermediate"
        self.process["ocsp"] = self.lab.spawn(
            "b", [OPENSSL, "ocsp", "-port", "8081", "-index", str(self.index), "-CA", f"{ca}.pem", "-rsigner", f"{ca}.pem", "-rkey", f"{ca}.key",
                  "-ndays", "1"], "ocsp.log")
        expect(wait_until(lambda: "waiting for" in self.log("ocsp.log"), 5, 0.1), f"no responder: {self.log('ocsp.log')[-300:]}")

    def log(self, name):
        return (self.lab.dir / name).read_text()

    def stop(self, which):
        process = self.process.pop(which)
        process.kill()
        process.wait(5)


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


def certified(lab, kind_a="p256", kind_b="p256", peer=CertifiedSwan, **changes):
    """(scene, authority): both ends prove themselves by certificates of an intermediate authority."""
    changes = {"local_id_a": "a.test", "remote_id_a": "b.test", "local_id_b": "b.test", "remote_id_b": "a.test", **changes}
    scene = Scene(lab, peer=peer, peer_runs=False, **changes)
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
    refused(scene, "revoked", "crl:")
    prove(scene, authority, "revocation: strict")
    reload()
    refused(scene, "unable to get certificate CRL", "revocation:")
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


@case("revocation-fetched", 90, own=True)
def revocation_fetched(lab):
    """Lists and OCSP answers over HTTP: asked once for all that need them, kept, and what the policy makes of a silent server."""
    scene, authority = certified(lab)
    web = Publisher(scene, authority)
    theirs = {}
    for name, more in (("both", web.points), ("list", web.list_only)):
        theirs[name] = authority.make(f"b-{name}", "p256", ["DNS:b.test"], by="ca-intermediate", more=more)
    # the intermediate says nothing, so only the peer's own certificate is asked about
    trusted = chain(authority.intermediate, authority.root)
    for certificate in theirs.values():
        web.register(certificate)
    web.publish()
    web.serve_lists()
    web.answer()

    def peer(name):
        scene.b.install(theirs[name], authority.root, authority.intermediate)
        scene.b.reload()

    def ours(policy):
        prove(scene, authority, f"revocation: {policy}", ca=trusted)
        if scene.a.process:
            scene.a.reload()
            expect(scene.a.cli("status").returncode == 0, "the daemon is gone")

    scene.b.start()
    peer("both")
    ours("ifuri")
    scene.a.start()
    for role in ("initiator", "responder"):
        scene.connect(role).expect_pings(1)
        expect(scene.a.down().returncode == 0, "down was refused")
    expect(scene.a.log().count("requesting ocsp status") == 1, "the second time it was asked again")
    expect("fetching crl" not in scene.a.log(), "a list was fetched although the responder answered")
    # the responder is gone: its last answer is still good; forgotten, the list has to do
    web.stop("ocsp")
    expect(scene.a.swanctl("--flush-certs").returncode == 0, "flush-certs failed")
    scene.connect("initiator")
    expect("fetching crl" in scene.a.log() and ":8081' brought nothing" in scene.a.log(), "no list was fetched after the responder failed")
    scene.a.down()
    # revoked, by the list
    peer("list")
    web.publish(theirs["list"])
    scene.a.swanctl("--flush-certs")
    refused(scene, "certificate revoked", "revocation:")
    # nobody answers: ifuri refuses, relaxed does not
    web.stop("lists")
    scene.a.swanctl("--flush-certs")
    refused(scene, "unable to get certificate CRL; 'http", "revocation:")
    ours("relaxed")
    scene.connect("initiator").expect_pings(1)
    scene.a.down()
    # revoked, by the responder
    peer("both")
    web.publish(theirs["both"])
    web.answer()
    scene.a.swanctl("--flush-certs")
    refused(scene, "certificate revoked, says the responder", "revocation:")


class LookupSwan(CertifiedSwan):
    """strongSwan that names certificates by hash and URL, and fetches ours."""
    MORE_PLUGINS = CertifiedSwan.MORE_PLUGINS + " curl"
    base = ""

    def write(self):
        super().write()
        path = self.dir / "strongswan.conf"
        path.write_text(path.read_text().replace("  retransmit_timeout", "  hash_and_url = yes\n  retransmit_timeout", 1))
        path = self.dir / "swanctl.conf"
        path.write_text(path.read_text() + f"authorities {{\n  ca {{\n    cacert = ca-intermediate.pem\n    cert_uri_base = {self.base}\n  }}\n}}\n")


@case("certificates-by-url", 60, own=True)
def certificates_by_url(lab):
    """Hash and URL both ways; a URL from elsewhere is not fetched."""
    scene, authority = certified(lab, peer=LookupSwan)
    publisher = Publisher(scene, authority)
    base = f"http://{scene.spec_b.local}:8080/"
    scene.b.base = base
    scene.b.write()
    for certificate in (scene.own, scene.theirs, authority.intermediate):
        der = subprocess.run([OPENSSL, "x509", "-in", str(certificate), "-outform", "DER"], check=True, capture_output=True).stdout
        (authority.dir / hashlib.sha1(der).hexdigest()).write_bytes(der)
    publisher.serve_lists()
    scene.b.start()
    prove(scene, authority, f"certificate-url: {base}", ca=chain(authority.root, authority.intermediate))
    scene.a.start()
    both_roles(scene)
    expect("fetched certificate \"O=Test, CN=a\"" in scene.b.log(), "strongSwan fetched nothing of ours")
    expect("fetching certificate from" in scene.a.log(), "we fetched nothing")
    prove(scene, authority, "certificate-url: http://192.0.2.99/", ca=chain(authority.root, authority.intermediate))
    scene.a.reload()
    answer = scene.a.up()
    expect(answer.returncode != 0 and "from where none is fetched" in scene.a.log(), answer.stdout[-300:])
