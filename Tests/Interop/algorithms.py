"""What a connection may name beside the defaults, against strongSwan; and key encapsulation, against itself."""
from gateways import Causewayd, StrongSwan
from scene import Scene, case, expect


class ManyAlgorithms(StrongSwan):
    """strongSwan with every plugin of algorithms that Debian has."""
    MORE_PLUGINS = "ctr ccm cmac xcbc md5"


# IKE and ESP, so chosen that each algorithm stands in one of them at least
SUITES = [
    ("aes128ctr-sha256-modp6144", "aes256ctr-sha256-modp1536"),
    ("aes256ccm8-prfaescmac-modp1536", "aes128ccm8"),
    ("aes192ccm16-prfaesxcbc-modp1024", "aes192ccm12-modp1024"),
    ("aes128gcm8-prfsha256-modp8192", "aes256gcm8"),
    ("aes192gcm12-prfsha384-ecp224bp", "aes128gcm12-ecp224bp"),
    ("camellia256-sha512-curve448", "camellia128-sha1-curve448"),
    ("aes128-aescmac-ecp256bp", "aes192-aescmac"),
    ("aes256-aesxcbc-modp2048s224", "camellia192-aesxcbc"),
    ("3des-md5-modp768", "3des-md5"),
    ("des-sha1-modp1024s160", "des-sha1"),
    ("aes256-sha256-ecp512bp", "null-sha512"),
]


@case("algorithms", 120, own=True)
def algorithms(lab):
    """Each one, both roles, with a rekey of both SAs behind."""
    scene = Scene(lab, peer=ManyAlgorithms)
    scene.run()
    for number, (ike, esp) in enumerate(SUITES):
        scene.a.specs = [scene.spec_a.but(ike=ike, esp=esp)]
        scene.b.specs = [scene.spec_b.but(ike=ike, esp=esp)]
        scene.a.write()
        scene.b.write()
        scene.b.reload()
        scene.a.reload()
        expect(scene.a.cli("status").returncode == 0, f"{ike}: the daemon is gone")
        try:
            scene.connect("initiator" if number % 2 == 0 else "responder").expect_pings(2)
            for what in ([], ["branch"]):
                answer = scene.a.cli("rekey", "branch", *what)
                expect(answer.returncode == 0, f"rekey: {answer.stdout[-200:]}")
            scene.expect_pings(2)
        except Exception as error:
            raise type(error)(f"{ike} / {esp}: {error}") from None
        expect(scene.a.down().returncode == 0, f"{ike}: down was refused")


@case("algorithms-ml-kem", 60, own=True)
def key_encapsulation(lab):
    """ML-KEM as the only key exchange, behind another one, and in rekeys, between two of ours."""
    for ike, esp in (("aes256gcm16-prfsha384-mlkem768", "aes256gcm16-mlkem1024"),
                     ("aes256gcm16-prfsha384-x25519-ke1_mlkem1024", "aes256gcm16-x25519-ke1_mlkem768")):
        scene = Scene(lab, peer=Causewayd, ike=ike, esp=esp) if not lab.processes else scene
        if scene.a.process is None:
            scene.run()
        else:
            for gateway, spec in ((scene.a, scene.spec_a), (scene.b, scene.spec_b)):
                gateway.specs = [spec.but(ike=ike, esp=esp)]
                gateway.write()
                gateway.reload()
                expect(gateway.cli("status").returncode == 0, "the daemon is gone")
        scene.connect("initiator").expect_pings(2)
        for gateway in (scene.a, scene.b):
            for what in ([], ["branch"]):
                answer = gateway.cli("rekey", "branch", *what)
                expect(answer.returncode == 0, f"rekey: {answer.stdout[-200:]}")
            scene.expect_pings(2)
        expect(scene.a.down().returncode == 0, f"{ike}: down was refused")
