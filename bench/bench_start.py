"""From the request to QEMU executing, against a hand-written script of the same commands, in alternating rounds.

    uv run python bench/bench_start.py [--rounds 15]

Ours: one request over HTTP that brings a new guest (POST /v1/apply of a site with one guest more), until skepd's
event says that the guest runs: planned, the guest's folder, definition, linked clone, tap and filter made durably,
QEMU started without privileges under a guard, its monitor says that it runs. (Until the answer, a moment later, is
printed too.) The peer: a shell script that clones the disk by qemu-img, makes the tap and its bridge port by ip and
bridge, loads the same filter by nft, tells dnsmasq of the lease, and starts QEMU with the same command line (as root,
nothing recorded, nothing synced), until QEMU's monitor says that it runs. The network is there before, for both.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from _lab import IMAGE, IMAGE_SIZE, SAFETY, Lab, lab
from _report import alternate, report
from skep_helper.linux.network import names, probes
from skep_helper.linux.network.filters import Filters
from skep_helper.linux.network.records import PortRecord, Records
from skep_helper.linux.qemu import firmware

LIMIT = 1.3
SETTLE = 0.3
"""Seconds before each start, so that neither pays for what the kernel still clears away of the other's guest."""
SCRIPT = """
set -e
cp {variables} {home}/uefi-vars.fd
qemu-img create -q -f qcow2 -b {image} -F qcow2 {home}/disk0.qcow2 {size}
ip -n {namespace} tuntap add {tap} mode tap vnet_hdr
ip netns exec {namespace} nft -f {home}/filter.nft
ip -n {namespace} link set {tap} mtu 1500 addrgenmode none master br0 up
bridge -n {namespace} link set dev {tap} learning off flood off
bridge -n {namespace} fdb replace {mac} dev {tap} master static
echo {mac},10.9.250.1 >> {home}/leases
kill -HUP {server}
exec ip netns exec {namespace} {qemu}
"""


class Peer:
    """The script, written down from what Skep did for one guest."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.home = lab, lab.base / "peer"
        self.home.mkdir()
        name = lab.guest_name(0)
        record = Records(lab.policy).port(f"{name}.0")
        assert record is not None
        self.record: PortRecord = replace(record, interface=f"{lab.policy.interface_prefix}peer", number=0x7000)
        self.filters = Filters(probes.conntrack_bridge())
        self.namespace = names.network_namespace(lab.network)
        command = (lab.policy.pool / "guests" / name / "vmm.conf").read_text()
        for ours, theirs in (
            (f"{lab.policy.pool}/guests/{name}/disks", str(self.home)),
            (f"{lab.policy.pool}/guests/{name}", str(self.home)),
            (f"{lab.policy.run}/guests/{name}", str(self.home)),
            (record.interface, self.record.interface),
        ):
            command = command.replace(ours, theirs)
        self.qemu = command
        self.script = SCRIPT.format(
            variables=firmware.VARS, home=self.home, image=lab.policy.pool / "images" / IMAGE / "1" / "image",
            size=IMAGE_SIZE, namespace=self.namespace, tap=self.record.interface, qemu=command.strip(),
            mac=record.spec.mac, server=self._server(),
        )  # fmt: skip

    def _server(self) -> int:
        """dnsmasq of the network."""
        folder = names.state_folder(self.lab.policy) / "dns" / self.lab.network
        return int((folder / "pid").read_text())

    def start(self) -> subprocess.Popen[bytes]:
        """Returns once QEMU says that it runs."""
        process = subprocess.Popen(["sh", "-c", self.script], stdin=subprocess.DEVNULL)
        await_running(self.home / "qmp.sock")
        return process

    def round(self) -> float:
        (self.home / "filter.nft").write_text(self.filters.port(self.record))
        time.sleep(SETTLE)
        begin = time.perf_counter()
        process = self.start()
        passed = time.perf_counter() - begin
        process.kill()
        process.wait()
        self._clear()
        return passed

    def _clear(self) -> None:
        inside = ["ip", "netns", "exec", self.namespace]
        removal = self.filters.port_removal(self.record)
        subprocess.run([*inside, "nft", "-f", "-"], input=removal.encode(), check=True)
        subprocess.run([*inside, "ip", "link", "delete", self.record.interface], check=True)
        for path in self.home.iterdir():
            path.unlink()


def await_running(path: Path) -> None:
    """Ask a monitor until it answers that the guest runs."""
    end = time.monotonic() + SAFETY
    while time.monotonic() < end:
        with socket.socket(socket.AF_UNIX) as monitor:
            try:
                monitor.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                time.sleep(0.001)
                continue
            stream = monitor.makefile("rwb")
            stream.readline()
            stream.write(b'{"execute": "qmp_capabilities"}\n{"execute": "query-status"}\n')
            stream.flush()
            for line in stream:
                answer = json.loads(line).get("return", {})
                if answer.get("status") == "running":
                    return
    raise SystemExit("the script's QEMU does not run")


def ours(lab: Lab, numbers: list[int], answers: list[float]) -> float:
    number = numbers.pop()
    time.sleep(SETTLE)
    begin = time.time()
    lab.apply(lab.guest(number))
    answers.append(time.time() - begin)
    runs = next(event["time"] for event in reversed(lab.client.get("events", after=0, limit=10_000)) if is_start(event))
    lab.apply()
    return float(runs) - begin


def is_start(event: dict[str, Any]) -> bool:
    """Whether an event says that a guest was started."""
    data = event["data"]
    return bool(event["kind"] == "operation.progress" and data["state"] == "done" and "start guest" in data["summary"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with lab() as made:
        made.apply(made.guest(0))
        peer = Peer(made)
        made.apply()
        numbers = list(range(rounds + 1, 0, -1))
        answers: list[float] = []
        ours(made, numbers, answers)
        peer.round()
        found = alternate({"skep": lambda: ours(made, numbers, answers), "script": peer.round}, rounds)
    print(f"request to answer, skep: {statistics.median(answers) * 1000:.0f} ms")
    for name, passed in found.items():
        print(f"request to QEMU executing, {name}: {passed * 1000:.0f} ms (median of {rounds})")
    report("request to QEMU executing", found["skep"] / found["script"], LIMIT, peer="hand-written script")


if __name__ == "__main__":
    main()
