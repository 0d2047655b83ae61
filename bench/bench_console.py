"""Consoles through skep-gateway beside websockify (from PyPI, with numpy, into a folder of its own) in the same run.

Throughput: bytes of a flooding guest for each second of CPU that the relay uses, kernel time included. Latency: the
99th percentile of an echo while 100 consoles are typed on. Memory: what an idle console adds to the gateway.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from _report import report

ROUNDS = 5
BYTES = 2 << 30
CONSOLES = 100
TYPED = 60
"""Echoes for each console."""
EVERY = 0.1
IDLE = 200
TICK = os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / "build" / "bench-websockify"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def websockify() -> str:
    program = VENV / "bin" / "websockify"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        packages = ["websockify==0.13.0", "numpy"]
        subprocess.run([str(VENV / "bin" / "pip"), "install", "--quiet", *packages], check=True)
    return str(program)


class Relay:
    """A server between WebSockets and guests. where(kind): host, port and path of such a guest."""

    def __init__(self, name: str, ports: dict[str, int], paths: dict[str, str]) -> None:
        self.name = name
        self.pids: list[int] = []
        self._ports, self._paths = ports, paths

    def open(self, kind: str) -> socket.socket:
        """A WebSocket to a guest of this kind, after the handshake."""
        connection = socket.create_connection(("127.0.0.1", self._ports[kind]), 60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head = f"GET {self._paths[kind]} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(f"{head}Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert b" 101 " in answer, answer
        return connection

    def cpu(self) -> float:
        """Seconds that its processes have used, children that have ended included."""
        return sum(_cpu(pid) for pid in self._all())

    def memory(self) -> int:
        total = 0
        for pid in self._all():
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(kib) << 10 for kib in re.findall(r"Private_(?:Clean|Dirty): +(\d+)", text))
        return total

    def _all(self) -> list[int]:
        found, left = [], list(self.pids)
        while left:
            pid = left.pop()
            found.append(pid)
            left += [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return found


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICK


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def await_port(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


@contextmanager
def relays() -> Iterator[tuple[Relay, Relay]]:
    ports = {name: free_port() for name in ("gateway", "flood", "echo")}
    processes: list[subprocess.Popen[str]] = []

    def start(*argv: str, **options: object) -> subprocess.Popen[str]:
        processes.append(subprocess.Popen(argv, text=True, start_new_session=True, **options))  # type: ignore[call-overload]
        return processes[-1]

    with tempfile.TemporaryDirectory(prefix="skep-bench-") as folder:
        os.chmod(folder, 0o755)
        source = [sys.executable, str(Path(__file__).with_name("_console_source.py")), folder]
        guests = start(*source, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert guests.stdout is not None
        guests.stdout.readline()
        for socket_name in ("flood.sock", "echo.sock", "consoles.sock"):
            while not Path(folder, socket_name).exists():
                time.sleep(0.01)
            os.chmod(Path(folder, socket_name), 0o666)
        listen = ["--plain", "--listen", f"127.0.0.1:{ports['gateway']}", "--socket", f"{folder}/skepd.sock"]
        user = ["--user", "nobody"] if os.geteuid() == 0 else []
        quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        ours = start(sys.executable, "-m", "skepd.gateway.main", *listen, "--state", folder, *user, **quiet)
        gateway = Relay(
            "skep-gateway",
            dict.fromkeys(("flood", "echo"), ports["gateway"]),
            {kind: f"/v1/guests/{kind}/console?write=true" for kind in ("flood", "echo")},
        )
        gateway.pids = [ours.pid]
        peer = Relay("websockify", ports, dict.fromkeys(("flood", "echo"), "/"))
        for kind in ("flood", "echo"):
            target = [f"--unix-target={folder}/{kind}.sock", f"127.0.0.1:{ports[kind]}"]
            peer.pids.append(start(websockify(), *target, **quiet).pid)
        for port in ports.values():
            await_port(port)
        try:
            yield gateway, peer
        finally:
            for process in reversed(processes):
                os.killpg(process.pid, signal.SIGKILL)  # websockify waits for its children, for ever
                process.wait(60)


def throughput(relay: Relay) -> float:
    """Bytes for each second of CPU."""
    with relay.open("flood") as connection:
        buffer = bytearray(1 << 20)
        for _ in range(50):
            connection.recv_into(buffer)
        before, got = relay.cpu(), 0
        while got < BYTES:
            got += connection.recv_into(buffer)
        return got / (relay.cpu() - before)


def latencies(relay: Relay, seconds: list[float]) -> None:
    """Adds what every echo took: on each console one message every EVERY seconds, spread out evenly."""
    lines = [relay.open("echo") for _ in range(CONSOLES)]
    selector = selectors.DefaultSelector()
    for number, line in enumerate(lines):
        time.sleep(0.002)
        selector.register(line, selectors.EVENT_READ, number)
    time.sleep(0.5)
    for line in lines:  # what is told at the opening
        line.setblocking(False)
        try:
            line.recv(65_536)
        except BlockingIOError:
            continue
    text = b"0123456789abcdef"
    frame = bytes((0x82, 0x80 | len(text))) + bytes(4) + text
    begin = time.perf_counter() + 0.1
    plan = sorted((begin + turn * EVERY + number * EVERY / CONSOLES, number)
                  for turn in range(TYPED) for number in range(CONSOLES))  # fmt: skip
    sent: dict[int, float] = {}
    at, answers = 0, 0
    while answers < len(plan):
        now = time.perf_counter()
        while at < len(plan) and plan[at][0] <= now:
            number = plan[at][1]
            if number not in sent:
                sent[number] = time.perf_counter()
                lines[number].send(frame)
                at += 1
            else:
                break
        wait = max(plan[at][0] - time.perf_counter(), 0) if at < len(plan) else 1.0
        for key, _ in selector.select(min(wait, 0.005) if wait else 0.0005):
            data = lines[key.data].recv(4096)
            arrived = time.perf_counter()
            if text not in data:
                continue  # a ping
            seconds.append(arrived - sent.pop(key.data))
            answers += 1
    for line in lines:
        line.close()


def idle_memory(relay: Relay) -> float:
    """Bytes that an idle console adds."""
    relay.open("echo").close()
    time.sleep(1)
    before = relay.memory()
    lines = [relay.open("echo") for _ in range(IDLE)]
    time.sleep(2)
    found = (relay.memory() - before) / IDLE
    for line in lines:
        line.close()
    return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> None:
    with relays() as (gateway, peer):
        speeds: dict[str, list[float]] = {gateway.name: [], peer.name: []}
        for turn in range(2 * ROUNDS):
            for relay in (gateway, peer) if turn % 2 else (peer, gateway):
                speeds[relay.name].append(throughput(relay))
        ours, theirs = (statistics.median(speeds[relay.name]) for relay in (gateway, peer))
        print(f"for a second of CPU: skep-gateway {ours / 1e6:.0f} MB, websockify {theirs / 1e6:.0f} MB")
        report("console, CPU for a byte", theirs / ours, 1.0, peer="websockify")
        waits: dict[str, list[float]] = {gateway.name: [], peer.name: []}
        highs: dict[str, list[float]] = {gateway.name: [], peer.name: []}
        for _ in range(ROUNDS):
            for relay in (gateway, peer):
                found: list[float] = []
                latencies(relay, found)
                waits[relay.name] += found
                highs[relay.name].append(percentile(found, 0.99))
        for name, found in waits.items():
            middle = percentile(found, 0.5) * 1000
            print(f"{name}: echo {middle:.2f} ms, 99 % within {statistics.median(highs[name]) * 1000:.2f} ms")
        ours, theirs = (statistics.median(highs[relay.name]) for relay in (gateway, peer))
        report(f"console, p99 of an echo, {CONSOLES} open", ours / theirs, 1.0, peer="websockify")
        own, other = idle_memory(gateway), idle_memory(peer)
        print(f"an idle console: skep-gateway {own / 1000:.0f} kB, websockify {other / 1000:.0f} kB")
        report("idle console, private memory", own / 1000, 200, "kB", "the limit")


if __name__ == "__main__":
    main()
