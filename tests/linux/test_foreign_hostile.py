"""Hostile requests that start guests and make networks, carried out by the real helper on a machine that has things of
somebody else: none of those is touched, whatever is accepted, and strace sees nothing outside of what is allowed."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import struct
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from host_lab import SAFETY, Machine, wait_for
from hostile_requests import GUESTS, NETWORKS, Hostile
from skep_helper import vocabulary as v
from skep_helper.vocabulary.guest import DiskDevice, NicDevice
from test_foreign import differing, here, look
from test_helper_hostile import LINE, STRING, paths, receive, straced, writes

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(900)]
COUNT = int(os.environ.get("SKEP_HOSTILE_CARRIED_OUT", "800"))
MIB = 1 << 20
KINDS = {type(request): request for request in (*GUESTS, *NETWORKS)}
LAN = replace(KINDS[v.ApplyNetwork].network, kind="isolated", nat_prefix=None, host_address=None)
PORT = replace(KINDS[v.ApplyPort].port, vlans=())
ROUTER = replace(KINDS[v.ApplyRouter].router, routes=(), floating=(), forwards=())
GUEST = v.GuestSpec(
    name="files", digest="0123456789abcdef", memory=64 * MIB, disks=(DiskDevice(disk="root", slot=0, serial="root-1"),),
    nics=(NicDevice(port="files.lan", slot=4, mac=PORT.mac),), screen=False,
)  # fmt: skip
# Each as it is in the vocabulary's own list, and in a form that a plain machine can carry out.
REQUESTS = (
    *GUESTS, *NETWORKS, v.ApplyNetwork(network=LAN), v.ApplyNetwork(network=KINDS[v.ApplyNetwork].network),
    v.ApplyPort(port=PORT), v.ApplyRouter(router=ROUTER), v.StartGuest(guest=GUEST),
    v.StartGuest(guest=replace(GUEST, nics=())), v.StopGuest(guest="files", timeout=0),
)  # fmt: skip
CARRIED_OUT = {"ApplyNetwork", "ApplyPort", "ApplyRouter", "SetGroup", "StartGuest", "RemoveNetwork", "RemovePort"}
TOOLS = re.compile(r"(/usr)?/s?bin/(nft|ip|dnsmasq|sysctl|conntrack)")
PLACES = re.compile(
    r"/run/netns(/skep-[a-z0-9.-]*)?|/proc/sys/net/[a-z0-9_/.-]*|/dev/net/tun|/dev/null|/(dev|proc/self)/fd/\d+"
    r"|/proc/(self|thread-self|\d+)/(ns/net|task/\d+/ns/net|comm|oom_score_adj)"
)
__all__ = ["here"]


@pytest.fixture
def served(here: Machine) -> Machine:
    here.start_helper()
    client = here.client()
    create = v.CreateDisk(guest="files", disk="root", size=8 * MIB)
    client.perform([v.CreateGuestFolder(guest="files"), create, v.ApplyNetwork(network=LAN), v.ApplyPort(port=PORT)])
    client.close()
    return here


def converse(path: Path, frames: list[bytes]) -> Counter[tuple[str, str]]:
    """Send each as a batch of its own; how often each kind of request had which outcome."""
    outcomes: Counter[tuple[str, str]] = Counter()
    connection: socket.socket | None = None
    for data in frames:
        if connection is None:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(SAFETY)
            connection.connect(str(path))
        frame = b'{"id":1,"requests":[' + data + b"]}"
        connection.sendall(struct.pack(">I", len(frame)) + frame)
        answer = receive(connection)
        outcomes[kind_of(data), str(answer.get("code", "done"))] += 1
        assert "defect" not in str(answer.get("message", "")), (data, answer)
        if answer["id"] == 0:
            connection.close()
            connection = None
    if connection:
        connection.close()
    return outcomes


def kind_of(data: bytes) -> str:
    try:
        return str(json.loads(data)["type"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""


def clear(here: Machine) -> None:
    """Remove whatever was accepted, in the ordinary way."""
    client = here.client()
    seen = here.observe()
    requests: list[Any] = [v.StopGuest(guest=guest.name, timeout=0) for guest in seen.guests]
    requests += [v.RemoveRouter(router=router.name) for router in seen.networks.routers]
    requests += [v.RemovePort(port=port.name, network=port.network) for port in seen.networks.ports]
    requests += [v.RemoveNetwork(network=network.name) for network in seen.networks.networks]
    client.perform(requests)
    client.close()


def violation(line: str, roots: tuple[str, ...]) -> bool:
    """A call that changed something elsewhere than in the roots, /run/netns, the stack's own settings or a tap."""
    match = LINE.match(line)
    if not match or match["result"].startswith("-") or not writes(match["call"], match["arguments"]):
        return False
    call, arguments = match["call"], match["arguments"]
    if call in ("execve", "execveat"):
        return not TOOLS.fullmatch(STRING.findall(arguments)[0])
    if call in ("setns", "unshare"):
        return "CLONE_NEWNET" not in arguments
    if call in ("ptrace", "bpf", "chroot", "pivot_root"):
        return True
    if call == "bind":
        # Sockets that have no name in a file system: dnsmasq's, in the network's own stack, and netlink.
        return "sa_family=AF_UNIX" in arguments and not all(path.startswith(roots) for path in paths(arguments))
    if call in ("kill", "tgkill"):
        return False  # whom, is judged by the foreign process that must still be there
    # What a symbolic link says is not a place that is written to.
    named = paths(arguments)[1:] if call == "symlink" else paths(arguments)
    return not named or not all(path.startswith(roots) or PLACES.fullmatch(path) for path in named)


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_hostile_guests_and_networks(here: Machine, served: Machine) -> None:
    clear(here)
    here.stop_helper()
    wait_for(lambda: list(here.processes().values()) == ["sleep"], "the end of every process but the foreign one")
    before = look(here)
    here.start_helper()
    assert here.helper is not None
    source = Hostile(seed=20_261_122, requests=REQUESTS)
    trace = here.folder / "trace"
    with straced(here.helper.pid, trace):
        outcomes = converse(here.socket, [data for _ in range(COUNT) if (data := source.next())])
    assert here.helper.poll() is None
    roots = (f"{here.pool}/", f"{here.runtime}/")
    lines = trace.read_text(errors="replace").splitlines()
    found = [line for line in lines if violation(line, roots)]
    assert found == [], "\n".join(found[:20])
    print({f"{kind} {outcome}": count for (kind, outcome), count in sorted(outcomes.items()) if outcome != "rejected"})
    done = {kind for kind, outcome in outcomes if outcome == "done"}
    assert done >= CARRIED_OUT
    assert sum(count for (_, outcome), count in outcomes.items() if outcome == "rejected") > COUNT / 2
    clear(here)
    here.stop_helper()
    wait_for(lambda: here.processes() == before["processes"], "the end of every process")
    assert differing(before, look(here)) == {}
