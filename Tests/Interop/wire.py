#!/usr/bin/env python3
"""A wire that loses, doubles, delays and reorders: a process between two devices of a namespace, told what to do on its stdin.

  wire.py LEFT RIGHT [SEED]      lines on stdin: JSON such as {"loss": 0.05}; each is answered with the counts so far

Frames pass with their virtio-net header: offloaded checksums and segments arrive as they were sent. ARP and neighbour
discovery are left alone. With `cut` each longer UDP and ESP packet becomes IP fragments of at most so many octets, which arrive
in any order and among those of others, as behind a router that does not ask whether it may.
"""
import heapq
import json
import os
import random
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from traffic import checksum

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 263, 15, 23, 3
VNET, ETHERNET = 10, 14
KEYS = ("loss", "dup", "reorder", "delay", "cut")


class ImpairedWire:
    """Put between gateway `side` and the outer bridge of a topology: its port is moved into a namespace of its own."""

    def __init__(self, lab, sites, side="b", seed=1):
        role = f"wire{side}"
        lab.space(role)
        lab.run("net", f"ip link set p{side} nomaster; ip link set p{side} netns {lab.space(role)} name left")
        lab.wire(role, "right", "net", f"p{side}")
        lab.run("net", f"ip link set p{side} master br0")
        lab.run(role, "ip link set left up; ip link set left promisc on; ip link set right promisc on")
        self.process = subprocess.Popen(lab.argv(role, [sys.executable, str(Path(__file__).resolve()), "left", "right", str(seed)]),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        lab.processes.append(self.process)
        self.tell()

    def tell(self, **settings):
        """Change the settings (probabilities, `delay` in seconds, `cut` in octets); the counts before the change."""
        self.process.stdin.write(json.dumps(settings) + "\n")
        return self.process.stdout.readline().strip()


class Relay:
    def __init__(self, devices, seed):
        self.chance = random.Random(seed)
        self.settings = dict.fromkeys(KEYS, 0.0)
        self.counts = dict.fromkeys(("passed", "lost", "doubled", "reordered", "cut"), 0)
        self.identification = 0
        self.sockets = []
        for device in devices:
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            s.bind((device, ETH_P_ALL))
            s.setblocking(False)
            self.sockets.append(s)
        self.later, self.number = [], 0

    def put_off(self, seconds, target, data):
        self.number += 1
        heapq.heappush(self.later, (time.monotonic() + seconds, self.number, target, data))

    def frame(self, target, data):
        s, kind = self.settings, struct.unpack_from("!H", data, VNET + 12)[0]
        if kind != 0x0800:
            return self.send(target, data)
        if self.chance.random() < s["loss"]:
            self.counts["lost"] += 1
            return None
        self.counts["passed"] += 1
        if s["cut"] and (pieces := self.fragments(data, int(s["cut"]))):
            self.counts["cut"] += 1
            for piece in pieces:
                self.put_off(s["delay"] + self.chance.uniform(0, 0.01), target, piece)
            return None
        wait = s["delay"]
        if self.chance.random() < s["reorder"]:
            self.counts["reordered"] += 1
            wait += self.chance.uniform(0.005, 0.06)        # behind the one to three that follow
        if self.chance.random() < s["dup"]:
            self.counts["doubled"] += 1
            self.put_off(wait + self.chance.uniform(0, 0.02), target, data)
        return self.put_off(wait, target, data) if wait else self.send(target, data)

    def fragments(self, data, limit):
        """An IPv4 packet of UDP or ESP in fragments (RFC 791 §3.2); nothing for one that is short enough or many packets in one."""
        packet = bytearray(data[VNET + ETHERNET:])
        header, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
        if data[1] or packet[9] not in (17, 50) or total <= limit or struct.unpack_from("!H", packet, 6)[0] & 0x3fff:
            return []
        if data[0] & 1:                                     # the checksum was left to the device
            start, field = struct.unpack_from("<HH", data, 6)
            start -= ETHERNET
            struct.pack_into("!H", packet, start + field, checksum(bytes(packet[start:total])) or 0xffff)
        step, found = (limit - header) // 8 * 8, []
        self.identification = (self.identification + 1) & 0xffff
        for at in range(header, total, step):
            octets = bytes(packet[at:min(at + step, total)])
            more = 0x2000 if at + step < total else 0
            piece = packet[:header]
            struct.pack_into("!HHH", piece, 2, header + len(octets), self.identification, more | (at - header) // 8)
            struct.pack_into("!H", piece, 10, 0)
            struct.pack_into("!H", piece, 10, checksum(bytes(piece)))
            found.append(bytes(VNET) + data[VNET:VNET + ETHERNET] + bytes(piece) + octets)
        self.chance.shuffle(found)
        return found

    @staticmethod
    def send(target, data):
        try:
            target.send(data)
        except OSError:
            pass                                            # the device is down, or its queue full: lost, as on a wire

    def run(self):
        while True:
            wait = max(0, self.later[0][0] - time.monotonic()) if self.later else None
            readable, _, _ = select.select([*self.sockets, 0], [], [], wait)
            while self.later and self.later[0][0] <= time.monotonic():
                _, _, target, data = heapq.heappop(self.later)
                self.send(target, data)
            for n, s in enumerate(self.sockets):
                if s in readable:
                    try:
                        for _ in range(64):
                            self.frame(self.sockets[1 - n], s.recv(1 << 17))
                    except OSError:
                        continue
            if 0 in readable:
                if not (line := os.read(0, 4096).decode()):
                    return
                print(", ".join(f"{n} {word}" for word, n in self.counts.items()), flush=True)
                self.settings.update(json.loads(line))


if __name__ == "__main__":
    Relay(sys.argv[1:3], int(sys.argv[3]) if len(sys.argv) > 3 else 1).run()
