"""A name server for the sandbox: it knows the names of `names.py`, and writes down every other one."""

from __future__ import annotations

import socket
import socketserver
import struct
import threading
from pathlib import Path
from typing import Any

from tests.azure import names

_HEADER = struct.Struct("!6H")
_A, _NO_SUCH_NAME = 1, 3


def serve(log: Path) -> None:
    """Answer on port 53 of loopback, in a thread, until the process ends.

    Parameters
    ----------
    log : Path
        Gets a line for each name that isn't listed.
    """

    class Answering(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            packet, sock = self.request
            sock.sendto(_answer(packet, log), self.client_address)

    server = socketserver.ThreadingUDPServer(("127.0.0.1", 53), Answering)
    threading.Thread(target=server.serve_forever, name="names", daemon=True).start()


def _answer(packet: bytes, log: Path) -> bytes:
    """Answer one question (RFC 1035, section 4.1): an A record, none, or that there is no such name."""
    identity, *_ = _HEADER.unpack_from(packet)
    name, end = _name(packet)
    (kind,) = struct.unpack_from("!H", packet, end)
    question = packet[_HEADER.size : end + 4]
    found = names.address(name)
    if found is None:
        with log.open("a") as lines:
            lines.write(name + "\n")
        return _HEADER.pack(identity, 0x8180 | _NO_SUCH_NAME, 1, 0, 0, 0) + question
    if kind != _A:
        return _HEADER.pack(identity, 0x8180, 1, 0, 0, 0) + question
    record: Any = b"\xc0\x0c" + struct.pack("!HHIH", _A, 1, 60, 4) + socket.inet_aton(found)
    return _HEADER.pack(identity, 0x8180, 1, 1, 0, 0) + question + bytes(record)


def _name(packet: bytes) -> tuple[str, int]:
    """Read the name that is asked for; return it and where it ends."""
    labels, at = [], _HEADER.size
    while packet[at]:
        labels.append(packet[at + 1 : at + 1 + packet[at]].decode("ascii", "replace"))
        at += packet[at] + 1
    return ".".join(labels), at + 1
