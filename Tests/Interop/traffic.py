"""What travels: pings, transfers, an observer of the outer wire, forged packets."""
import collections
import contextlib
import hashlib
import random
import socket
import struct
import threading
import time

from lab import LabError, socket_in

ETH_P_ALL, ETH_P_IP, PACKET_OUTGOING, SO_RCVBUFFORCE = 3, 0x0800, 4, 33


def checksum(data):
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source, destination, protocol, payload, ttl=64):
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), random.randrange(65536), 0, ttl, protocol, 0,
                       socket.inet_aton(source), socket.inet_aton(destination))
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp_packet(source, destination, source_port, destination_port, payload):
    """An IPv4 packet with a UDP datagram (no UDP checksum, which IPv4 allows)."""
    return ip_packet(source, destination, 17, struct.pack("!HHHH", source_port, destination_port, 8 + len(payload), 0) + payload)


class Pinger:
    """ICMP echo at a steady rate from a role's namespace; says afterwards which were answered, and when."""

    def __init__(self, lab, role, source, destination, interval=0.05):
        self.destination, self.interval = destination, interval
        self.identifier = random.randrange(1, 65536)
        self.sent, self.answered, self.duplicates = {}, {}, 0
        self.running = True
        self.socket = socket_in(lab.space(role), socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.bind((source, 0))
        self.socket.settimeout(0.1)
        self.threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self):
        sequence, due = 0, time.monotonic()
        while self.running and sequence < 65535:
            sequence += 1
            due = max(due + self.interval, time.monotonic() - 0.1)      # what was late is made up for, but not a long pause
            head = struct.pack("!BBHHH", 8, 0, 0, self.identifier, sequence)
            body = head + b"causeway" * 7
            body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            self.sent[sequence] = time.monotonic()
            with contextlib.suppress(OSError):              # "network is unreachable" is an answer that is not there
                self.socket.sendto(body, (self.destination, 0))
            time.sleep(max(0, due - time.monotonic()))

    def _receive(self):
        end = None
        while end is None or time.monotonic() < end:
            if not self.running and end is None:
                end = time.monotonic() + self.grace
            try:
                packet = self.socket.recv(2048)
            except (TimeoutError, OSError):
                continue
            offset = (packet[0] & 15) * 4
            kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, offset)
            if kind == 0 and identifier == self.identifier:
                self.duplicates += sequence in self.answered
                self.answered.setdefault(sequence, time.monotonic())

    def stop(self, grace=1.0):
        self.grace = grace
        self.running = False
        for thread in self.threads:
            thread.join(grace + 2)
        self.socket.close()
        return self

    grace = 1.0

    def lost(self, since=0.0):
        """How many that were sent after the moment `since` have no answer."""
        return sum(1 for n, t in self.sent.items() if t >= since and n not in self.answered)

    def first_answer(self, since):
        """Seconds from `since` to the first answer to a ping sent after it, or None."""
        times = [t for n, t in self.answered.items() if self.sent[n] >= since]
        return min(times) - since if times else None


class EchoWitness:
    """Notes which echo requests of a pinger reach a role's namespace, and when: tells a lost request from a lost answer."""

    def __init__(self, lab, role, identifier):
        self.seen, self.running = {}, True
        self.socket = socket_in(lab.space(role), socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.1)
        self.identifier = identifier
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while self.running:
            with contextlib.suppress(TimeoutError):
                packet = self.socket.recv(2048)
                kind, _, _, identifier, sequence = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
                if kind == 8 and identifier == self.identifier:
                    self.seen.setdefault(sequence, time.monotonic())

    def stop(self):
        self.running = False
        self.thread.join(1)
        self.socket.close()
        return self


def ping(lab, role, source, destination, count=10, interval=0.05, grace=1.0):
    """(sent, lost) of a short run."""
    pinger = Pinger(lab, role, source, destination, interval)
    while len(pinger.sent) < count:
        time.sleep(interval / 2)
    pinger.stop(grace)
    return len(pinger.sent), pinger.lost()


def wait_for_ping(lab, role, source, destination, seconds):
    """Seconds until a ping was answered, or None."""
    started = time.monotonic()
    pinger = Pinger(lab, role, source, destination, 0.1)
    try:
        while time.monotonic() - started < seconds:
            if pinger.answered:
                return time.monotonic() - started
            time.sleep(0.03)
        return None
    finally:
        pinger.stop(0)


def transfer(lab, sender, receiver, destination, octets=20_000_000, seconds=60, port=5555):
    """Send `octets` over TCP between two roles; returns seconds. LabError when the digest differs or time runs out."""
    block = random.Random(octets).randbytes(1 << 16)
    listener = socket_in(lab.space(receiver), socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((destination, port))
    listener.listen(1)
    listener.settimeout(seconds)
    result = {}

    def receive():
        try:
            connection, _ = listener.accept()
            connection.settimeout(seconds)
            digest, total = hashlib.sha256(), 0
            while data := connection.recv(1 << 16):
                digest.update(data)
                total += len(data)
            connection.sendall(digest.digest())
            connection.close()
            result["octets"] = total
        except OSError as e:
            result["error"] = e
    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    started = time.monotonic()
    client = socket_in(lab.space(sender), socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(seconds)
    try:
        client.connect((destination, port))
        digest, left = hashlib.sha256(), octets
        while left:
            if time.monotonic() - started > seconds:
                raise LabError(f"{octets - left} of {octets} octets after {seconds} s")
            chunk = block[:min(left, len(block))]
            client.sendall(chunk)
            digest.update(chunk)
            left -= len(chunk)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while len(answer) < 32 and (data := client.recv(32)):
            answer += data
    except OSError as e:
        raise LabError(f"TCP transfer {sender} to {receiver}: {e}, receiver: {result}") from None
    finally:
        client.close()
        listener.close()
    if answer != digest.digest():
        raise LabError(f"TCP transfer {sender} to {receiver}: the digests differ, receiver: {result}")
    return time.monotonic() - started


class DatagramSink:
    """Counts UDP datagrams by payload at a role's address."""

    def __init__(self, lab, role, address, port):
        self.payloads, self.running = collections.Counter(), True
        self.socket = socket_in(lab.space(role), socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        while self.running:
            with contextlib.suppress(TimeoutError):
                self.payloads[self.socket.recv(65535)] += 1

    def stop(self):
        self.running = False
        self.thread.join(1)
        self.socket.close()
        return self.payloads


Frame = collections.namedtuple("Frame", "time outgoing kind data")


def esp_header(kind, frame):
    """(SPI, sequence number) of an observed frame of ESP, or None."""
    at = {"esp-in-udp": 42, "esp": 34}.get(kind)
    if at and frame[12:14] == b"\x86\xdd":
        at += 20
    return struct.unpack_from("!II", frame, at) if at and len(frame) >= at + 8 else None


class Observer:
    """Listens on one port of the outer bridge, or any device of a role, and sorts what passes.

    `clear` holds every packet with an address of 10.1.0.0/16 or 10.2.0.0/16 in its outer header: what nobody outside may see.
    """

    def __init__(self, lab, device="pa", role="net", keep=4000):
        self.kinds, self.clear, self.spis = collections.Counter(), [], set()
        self.clear_from_gateway = 0
        self.keep(keep)
        self.running = True
        self.socket = socket_in(lab.space(role), socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self.socket.bind((device, ETH_P_ALL))
        self.socket.settimeout(0.1)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while self.running:
            try:
                data, address = self.socket.recvfrom(65535)
            except TimeoutError:
                continue
            except OSError:
                return
            outgoing = address[2] == PACKET_OUTGOING            # out of the bridge, towards the gateway
            kind = self.sort(data)
            self.kinds[kind] += 1
            self.frames.append(Frame(time.monotonic(), outgoing, kind, data))
            if place := esp_header(kind, data):
                self.spis.add((outgoing, place[0]))
            if kind == "clear":
                self.clear.append(data)
                self.clear_from_gateway += not outgoing

    @staticmethod
    def sort(frame):
        """The kind of an Ethernet frame: arp, clear, ike, esp-in-udp, keepalive, esp, icmp, other."""
        if frame[12:14] == b"\x08\x06":
            return "arp"
        if frame[12:14] == b"\x86\xdd" and len(frame) >= 54:
            return Observer._sort_upper(frame[20], frame[54:])
        if frame[12:14] != b"\x08\x00" or len(frame) < 34:
            return "other"
        if any(frame[at:at + 2] in (b"\x0a\x01", b"\x0a\x02") for at in (26, 30)):
            return "clear"
        return Observer._sort_upper(frame[23], frame[14 + (frame[14] & 15) * 4:])

    @staticmethod
    def _sort_upper(protocol, body):
        if protocol == 50:
            return "esp"
        if protocol in (1, 58):
            return "icmp"
        if protocol != 17 or len(body) < 9:
            return "other"
        ports = struct.unpack_from("!HH", body)
        if 4500 in ports:
            payload = body[8:struct.unpack_from("!H", body, 4)[0]]
            if payload == b"\xff":
                return "keepalive"
            return "ike" if payload[:4] == bytes(4) else "esp-in-udp"
        return "ike" if 500 in ports else "other"

    def keep(self, frames):
        """Remember that many of the last frames."""
        self.frames = collections.deque(getattr(self, "frames", ()), maxlen=frames)

    def stop(self):
        time.sleep(0.15)
        self.running = False
        self.thread.join(1)
        self.socket.close()
        return self

    def summary(self):
        return ", ".join(f"{kind} {count}" for kind, count in sorted(self.kinds.items())) or "nothing"

    def example(self, kind="esp-in-udp"):
        """One packet of this kind in words."""
        for frame in self.frames:
            if frame.kind == kind:
                d = frame.data
                ports = struct.unpack_from("!HH", d, 34)
                body = d[42:]
                text = f"IP {socket.inet_ntoa(d[26:30])}.{ports[0]} > {socket.inet_ntoa(d[30:34])}.{ports[1]}: UDP"
                if kind == "esp-in-udp":
                    text += f"-encap ESP(spi=0x{body[:4].hex()},seq=0x{int.from_bytes(body[4:8], 'big'):x})"
                return text + f", {len(body)} octets: {body[8:28].hex()}..."
        return None


class Forger:
    """Puts frames on one port of the bridge as a machine of the outside could."""

    def __init__(self, lab, device="pa", role="net"):
        self.socket = socket_in(lab.space(role), socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.bind((device, 0))

    def send(self, destination_mac, packet, source_mac=b"\x02\x00\x00\x00\x66\x66"):
        self.socket.send(destination_mac + source_mac + struct.pack("!H", ETH_P_IP) + packet)

    def resend(self, frame):
        self.socket.send(frame)

    def close(self):
        self.socket.close()
