"""strongSwan in a Linux kernel of its own (User-Mode Linux): that kernel does ESP, also as protocol 50, and judges ours by its counters."""
import os
import shlex
import time

import peers
from gateways import StrongSwan, pair, subject, swan_environment
from lab import LabError, wait_until
from scene import HA, HB, LONG, Scene, Skip, case, expect, note
from traffic import Observer, ping, transfer, wait_for_ping

MODULES = "xfrm_user esp4 esp6 authenc authencesn echainiv seqiv drbg gcm ctr cbc hmac sha256_generic chacha20poly1305"
MEMORY = "160M"

# process 1 of the guest, whose root is the host's, read-only
INIT = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin L=@dir@
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t hostfs -o $L none $L
ln -s @kernel@/usr/bin/kmod /run/modprobe
cat >/run/load <<'END'
#!/bin/sh
export LD_LIBRARY_PATH=$(echo @kernel@/usr/lib/*-linux-gnu*)
exec /run/modprobe -d @kernel@ "$@"
END
chmod +x /run/load
# what algorithms are made of, the kernel asks for itself
echo /run/load >/proc/sys/kernel/modprobe
for m in @modules@; do /run/load $m; done >$L/modules.out 2>&1
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \\
  net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
@addresses@
@daemon@
touch $L/up
exec 5</dev/tty1
while read -r id <&5; do
  ( sh $L/cmd-$id >$L/out-$id 2>&1 </dev/null; echo $? >$L/rc-$id.new; mv $L/rc-$id.new $L/rc-$id ) &
done
echo o >/proc/sysrq-trigger
sleep 5
"""


class KernelSites:
    """hosts and gateway a as in TwoSites; in b's place two TAPs, whose other ends are in the guest."""

    OUTER = {"a": "192.0.2.1", "b": "192.0.2.2"}
    nat = None

    def __init__(self, lab, ipv6=False):
        self.lab, self.ipv6 = lab, ipv6
        if ipv6:
            self.OUTER = {"a": "2001:db8::1", "b": "2001:db8::2"}
        lab.run("net", "ip link add br0 type bridge mcast_snooping 0; ip link add br1 type bridge mcast_snooping 0; ip addr add 192.0.2.254/24 dev br0; "
                       "ip tuntap add dev tb mode tap; ip tuntap add dev tl mode tap; ip link set tb master br0; ip link set tl master br1; "
                       "for d in br0 br1 tb tl; do ip link set $d up; done")
        lab.wire("ha", "lan0", "a", "lan0")
        lab.wire("a", "out0", "net", "pa")
        lab.wire("hb", "lan0", "net", "pl")
        lab.run("net", "ip link set pa master br0; ip link set pl master br1")
        lab.run("ha", "ip addr add 10.1.0.10/24 dev lan0; ip route add default via 10.1.0.1")
        lab.run("hb", "ip addr add 10.2.0.10/24 dev lan0; ip route add default via 10.2.0.1")
        lab.run("a", "ip addr add 10.1.0.1/24 dev lan0; ip addr add 192.0.2.1/24 dev out0; ip addr add 2001:db8::1/64 dev out0 nodad; "
                     "ip route add default via 192.0.2.254; sysctl -qw net.ipv4.ip_forward=1")

    def address(self, side):
        return self.OUTER[side]


class Guest:
    """A gateway in a guest: what its daemon is matters not. Mixed into a GatewayProcess."""

    DAEMON = ""                 # shell lines that start it and wait until it can be asked

    @staticmethod
    def require():
        if not os.access("/dev/net/tun", os.R_OK):
            raise Skip("/dev/net/tun is not there")
        try:
            peers.fetch_extras()
        except peers.PeerError as e:
            raise Skip(f"no User-Mode Linux: {e}") from None

    def boot(self, prologue, environment):
        """Start the guest; its root is what is there after the shell line `prologue`."""
        self.numbers = 0
        addresses = ("ip addr add 192.0.2.2/24 dev vec0; ip addr add 2001:db8::2/64 dev vec0 nodad; ip link set vec0 up; "
                     "ip addr add 10.2.0.1/24 dev vec1; ip link set vec1 up; ip route add default via 192.0.2.1")
        text = INIT.replace("@daemon@", self.DAEMON)
        for name, value in {"dir": self.dir, "kernel": peers.EXTRAS.resolve(), "modules": MODULES, "addresses": addresses}.items():
            text = text.replace(f"@{name}@", str(value))
        init = self.dir / "init"
        init.write_text(text)
        init.chmod(0o755)
        control = self.dir / "control"
        os.mkfifo(control)
        kernel = [str(peers.EXTRAS.resolve() / "usr/bin/linux.uml"), f"mem={MEMORY}", "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "quiet",
                  f"init={init}", f"umid={self.lab.prefix}", f"uml_dir={self.dir}/uml",
                  "vec0:transport=tap,ifname=tb,depth=128,gro=1,mac=02:75:00:00:00:02", "vec1:transport=tap,ifname=tl,depth=128,gro=1,mac=02:75:00:00:00:03",
                  # commands come by a FIFO on descriptor 3: the two consoles must not share one
                  "con=null", "con0=null,fd:1", "con1=fd:3,null"]
        line = prologue + f"exec 3<>{control} && exec {shlex.join(kernel)}"
        self.process = self.lab.spawn("net", ["unshare", "-m", "sh", "-c", line], "guest.log", {**environment, "TMPDIR": "/dev/shm", "HOME": "/root"})
        if not wait_until(lambda: (self.dir / "up").exists() or not self.alive(), 60, 0.1) or not self.alive():
            raise LabError(f"the guest did not come up: {(self.lab.dir / 'guest.log').read_text(errors='replace')[-300:]} {self.tail(3)}")

    def log(self):
        try:
            return self.log_path.read_text(errors="replace")
        except OSError:
            return ""

    def run(self, command, timeout=30):
        """A shell line in the guest: (exit status, output)."""
        self.numbers += 1
        n = self.numbers
        (self.dir / f"cmd-{n}").write_text(command + "\n")
        with open(self.dir / "control", "w") as out:
            out.write(f"{n}\n")
        if not wait_until(lambda: (self.dir / f"rc-{n}").exists(), timeout):
            return 124, f"{command}: not done after {timeout} s"
        return int((self.dir / f"rc-{n}").read_text()), (self.dir / f"out-{n}").read_text(errors="replace")

    def errors(self):
        """Counters of /proc/net/xfrm_stat that are not zero."""
        lines = self.run("cat /proc/net/xfrm_stat")[1].splitlines()
        return {k: int(v) for k, v in (x.split() for x in lines) if int(v)}


class KernelSwan(Guest, StrongSwan):
    """strongSwan with kernel-netlink, in the guest."""

    PLUGINS = "random nonce openssl pem pkcs1 x509 pubkey constraints hmac kdf gcm chapoly curve25519 kernel-netlink socket-default vici updown counters"
    VICI = "/run/vici.sock"
    DAEMON = "export STRONGSWAN_CONF=$L/strongswan.conf\n/usr/lib/ipsec/charon >$L/charon.out 2>&1 &\nuntil [ -S /run/vici.sock ]; do sleep 0.05; done"

    def __init__(self, lab, role, *specs):
        self.require()
        super().__init__(lab, role, *specs)

    @property
    def log_path(self):
        return self.dir / "charon.log"             # of the lab's directory, the guest sees this part alone as its own

    def start(self):
        prologue, environment = swan_environment(self.dir)
        self.boot(prologue.replace(" && mount -t tmpfs tmpfs /run", ""), environment)
        self.reload()
        return self

    def swanctl(self, *arguments, timeout=30):
        return Answer(*self.run(f"{shlex.quote(str(peers.TREE.resolve()))}/usr/sbin/swanctl {shlex.join(arguments)} --uri unix://{self.VICI}", timeout))


class Answer:
    def __init__(self, returncode, stdout):
        self.returncode, self.stdout = returncode, stdout


class KernelScene(Scene):
    """Gateway a and the guest."""

    def __init__(self, lab, ipv6=False, peer=KernelSwan, peer_runs=True, **changes):
        self.lab, self.sites = lab, KernelSites(lab, ipv6)
        self.observer = Observer(lab)
        lab.closers.append(self.observer.stop)
        self.spec_a, self.spec_b = pair(self.sites, **changes)
        self.b = peer(lab, "b", self.spec_b)
        if peer_runs:
            self.b.start()
        self.a = subject(lab, "a", self.spec_a)


def exercise(scene, word, kind, octets=(100 if LONG else 5) * 1_000_000):
    """Pings both ways, bulk both ways, rekeys by both ends; the guest's kernel counts no error."""
    lab, before = scene.lab, scene.b.errors()
    scene.observer.kinds.clear()
    scene.connect()
    for sender, source, target in (("ha", HA, HB), ("hb", HB, HA)):
        # the guest looks up its neighbours at the first packet, and can lose that one
        expect(wait_for_ping(lab, sender, source, target, 10) is not None, f"{word}: no ping from {sender} answered")
    scene.expect_pings(10)
    times = [transfer(lab, s, r, address, octets, 60) for s, r, address in (("ha", "hb", HB), ("hb", "ha", HA))]
    for rekey in ("ours", "theirs", "ike"):
        answer = {"ours": lambda: scene.a.swanctl("--rekey", "--child", "branch"), "theirs": lambda: scene.b.swanctl("--rekey", "--child", "branch"),
                  "ike": lambda: scene.b.swanctl("--rekey", "--ike", "branch")}[rekey]()
        expect(answer.returncode == 0, f"{word}: rekey ({rekey}): {answer.stdout[-200:]}")
        for sender, source, target in (("ha", HA, HB), ("hb", HB, HA)):
            sent, lost = ping(lab, sender, source, target, 40, 0.02, 0.4)
            expect(lost == 0, f"{word}: {lost} of {sent} pings from {sender} lost at a rekey ({rekey})")
    expect(wait_until(lambda: scene.a.counts() == (1, 1) == scene.b.counts(), 15, 0.2), f"{word}: not one of each: {scene.a.counts()}, {scene.b.counts()}")
    kinds = scene.observer.kinds
    other = "esp-in-udp" if kind == "esp" else "esp"
    expect(kinds[kind] > octets // 1500 and not kinds[other], f"{word}: not {kind} alone on the wire: {scene.observer.summary()}")
    after = scene.b.errors()
    errors = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
    # what leaves while no SA stands yet, and rests of a replaced one, are no errors of ours
    expect(not {k for k in errors if k.startswith("XfrmIn")}, f"{word}: the peer's kernel counts {errors}")
    state = scene.b.run("ip -s xfrm state")[1]
    note(f"{word}: {' / '.join(f'{octets * 8 / t / 1e6:.0f}' for t in times)} Mbit/s out / in, 3 rekeys, xfrm_stat {errors or 'without errors'}")
    return state


SUITES = {
    "gcm": ("aes256gcm16-noesn", 0), "gcm-esn": ("aes256gcm16-esn", 128), "cbc-sha2-esn": ("aes256-sha256-esn", 1024),
    "cbc-sha2": ("aes256-sha256-noesn", 32), "chacha-pfs-esn": ("chacha20poly1305-x25519-esn", 64),
}


def kernel_case(name, suites, kind="esp", ipv6=False, **changes):
    @case(name, 180, own=True)
    def run(lab):
        scene = None
        for word in suites:
            esp, window = SUITES[word]
            if scene is None:
                scene = KernelScene(lab, ipv6, esp=esp, window=window, **changes)
            else:
                for gateway in (scene.a, scene.b):
                    gateway.specs[0] = gateway.specs[0].but(esp=esp, window=window)
                    gateway.write()
                scene.b.reload()
            scene.run()
            state = exercise(scene, word, kind)
            expect(("flag" in state and "esn" in state) == word.endswith("esn"), f"{word}: the peer's kernel says: {state[:300]}")
            expect(scene.a.stop() == 0, "no orderly end")
            expect(wait_until(lambda: not scene.b.sas(), 8, 0.2), "the peer still has the IKE_SA")
            time.sleep(0.2)


kernel_case("kernel-peer-raw", ("gcm", "gcm-esn", "cbc-sha2-esn"), raw_a=True)
kernel_case("kernel-peer-raw-more", ("cbc-sha2", "chacha-pfs-esn"), raw_a=True)
kernel_case("kernel-peer-udp", ("gcm-esn",), "esp-in-udp", encap=True)
kernel_case("kernel-peer-ipv6", ("gcm-esn", "cbc-sha2"), ipv6=True, raw_a=True)
