"""Peers that move, and gateways that send them elsewhere."""
from lab import wait_until
from scene import Scene, case, expect, last_line
from vici_cases import answers, scene_of_loaded


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
