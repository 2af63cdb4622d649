"""A small client of the vici protocol, for what swanctl does not do: many connections at a time, and the time that each answer takes."""
import socket
import struct
import threading

REQUEST, RESPONSE, UNKNOWN, REGISTER, UNREGISTER, CONFIRM, EVENT_UNKNOWN, EVENT = range(8)
SECTION, END, VALUE, LIST, ITEM, LIST_END = range(1, 7)


class ViciError(Exception):
    """The daemon refused, or did not speak the protocol."""


def encode(message):
    out = b""
    for key, value in message.items():
        name = bytes([len(key)]) + key.encode()
        if isinstance(value, dict):
            out += bytes([SECTION]) + name + encode(value) + bytes([END])
        elif isinstance(value, (list, tuple)):
            items = [x if isinstance(x, bytes) else str(x).encode() for x in value]
            out += bytes([LIST]) + name + b"".join(bytes([ITEM]) + struct.pack("!H", len(x)) + x for x in items) + bytes([LIST_END])
        else:
            raw = value if isinstance(value, bytes) else str(value).encode()
            out += bytes([VALUE]) + name + struct.pack("!H", len(raw)) + raw
    return out


def decode(data):
    stack, current, position, items = [], {}, 0, None

    def name(at):
        return data[at + 1:at + 1 + data[at]].decode(), at + 1 + data[at]

    def value(at):
        size = struct.unpack_from("!H", data, at)[0]
        return data[at + 2:at + 2 + size].decode(errors="replace"), at + 2 + size

    while position < len(data):
        kind, position = data[position], position + 1
        if kind == SECTION:
            key, position = name(position)
            inner = {}
            current[key] = inner
            stack.append(current)
            current = inner
        elif kind == END:
            current = stack.pop()
        elif kind == VALUE:
            key, position = name(position)
            current[key], position = value(position)
        elif kind == LIST:
            key, position = name(position)
            items = current[key] = []
        elif kind == ITEM:
            item, position = value(position)
            items.append(item)
        elif kind != LIST_END:
            raise ViciError(f"element of type {kind}")
    return current


class Client:
    """One connection. A unix socket is found by its path, whatever the network namespace."""

    def __init__(self, path, timeout=30):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.lock = threading.Lock()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, kind, name, body=b""):
        packet = bytes([kind, len(name)]) + name.encode() + body
        self.socket.sendall(struct.pack("!I", len(packet)) + packet)

    def _exactly(self, count):
        data = bytearray()
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ViciError("the daemon closed the connection")
            data += part
        return bytes(data)

    def packet(self):
        """(type, name or None, body) of the next packet."""
        data = self._exactly(struct.unpack("!I", self._exactly(4))[0])
        if data[0] == EVENT:
            end = 2 + data[1]
            return EVENT, data[2:end].decode(), data[end:]
        return data[0], None, data[1:]

    def register(self, event):
        self._send(REGISTER, event)
        while (kind := self.packet()[0]) == EVENT:
            pass
        if kind != CONFIRM:
            raise ViciError(f"event {event} is not known")

    def call(self, command, message=None, heard=None):
        """The answer; `heard` is called with the name and the octets of each event that comes before it."""
        self._send(REQUEST, command, encode(message or {}))
        while True:
            kind, name, body = self.packet()
            if kind == EVENT:
                if heard:
                    heard(name, body)
            elif kind == RESPONSE:
                return decode(body)
            else:
                raise ViciError(f"command {command} is not known")

    def request(self, command, message=None):
        """The answer; ViciError with the daemon's words when it refuses."""
        answer = self.call(command, message)
        if answer.get("success") == "no":
            raise ViciError(answer.get("errmsg", "no reason given"))
        return answer
