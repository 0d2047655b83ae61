"""What stands behind a console in the benchmark: a guest that floods or echoes, reached by websockify as a unix socket,
and by the gateway as a descriptor of skepd's door (whose protocol this speaks, admitting everybody)."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from pathlib import Path

from skepd.api.consoles.packets import receive

PIECE = os.urandom(1 << 18)


def flood(connection: socket.socket) -> None:
    with connection:
        try:
            while True:
                connection.sendall(PIECE)
        except OSError:
            return


def echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except OSError:
            return


WORKS = {"flood": flood, "echo": echo}


def serve(path: Path, name: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(512)
        while True:
            threading.Thread(target=WORKS[name], args=(listener.accept()[0],), daemon=True).start()


def door(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(4)
        while True:
            threading.Thread(target=gateway, args=(listener.accept()[0],), daemon=True).start()


def gateway(connection: socket.socket) -> None:
    guests: dict[str, str] = {}
    while found := receive(connection):
        message, _ = found
        if message.get("do") == "admit":
            identity = str(message["id"])
            guests[identity] = str(message["guest"])
            console = {"id": identity, "guest": message["guest"], "kind": "serial", "user": "bench", "writes": True}
            answer, descriptors = {"console": {**console, "key": "", "peer": "", "since": 0.0}, "offset": 0}, []
        elif message.get("do") == "line":
            ours, theirs = socket.socketpair()
            work = WORKS[guests[str(message["console"])]]
            threading.Thread(target=work, args=(ours,), daemon=True).start()
            notice = {"event": "opened", "read_only": False, "reason": "", "writer": "bench"}
            answer, descriptors = {"notice": notice, "begins": 0, "first": 0}, [theirs.detach()]
        else:
            continue
        socket.send_fds(connection, [json.dumps({"id": message["id"], **answer}).encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    threading.stack_size(256 * 1024)
    for kind in WORKS:
        threading.Thread(target=serve, args=(folder / f"{kind}.sock", kind), daemon=True).start()
    threading.Thread(target=door, args=(folder / "consoles.sock",), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
