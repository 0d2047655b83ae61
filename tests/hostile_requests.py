"""Hostile requests: mutations of valid ones, the same for the same seed."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from skep_helper import codec
from skep_helper.vocabulary import (
    AbandonImage,
    AbandonReceive,
    AdoptDisk,
    AdoptVariables,
    ApplyNetwork,
    ApplyPort,
    ApplyRouter,
    BookmarkSnapshot,
    CompareSnapshot,
    CreateDisk,
    CreateGuestFolder,
    EmptyTrash,
    EstimateSend,
    FilterRule,
    GrowDisk,
    GuestSpec,
    NetworkSpec,
    OpenAgent,
    OpenConsole,
    OpenImageWriter,
    OpenScreen,
    PauseGuest,
    PortSpec,
    Probe,
    PromoteGuest,
    PublishImage,
    ReadConsole,
    ReadGuests,
    ReadInventory,
    ReadNetworks,
    ReadReplica,
    ReadStorage,
    ReadUsage,
    ReadVmBhyve,
    ReceiveImage,
    ReceiveSnapshot,
    RemoveDisk,
    RemoveImage,
    RemoveNetwork,
    RemovePort,
    RemoveRouter,
    RemoveSnapshot,
    ResetGuest,
    ResumeGuest,
    RollBackGuest,
    RouterSpec,
    SendSnapshot,
    SetGroup,
    SnapshotGuest,
    SnapshotStream,
    StartGuest,
    StopGuest,
    TrashGuestFolder,
    UntrashGuestFolder,
    WriteSeed,
)
from skep_helper.vocabulary.guest import Cpus, DiskDevice, MediaDevice, NicDevice
from skep_helper.vocabulary.network import AddressPair, FloatingAddress, Lease, PortForward, Route, RouterLeg, Subnet

MIB = 1 << 20
KEY = "0123456789abcdef"
MAC = "52:54:00:00:00:01"

_GUEST = GuestSpec(
    name="files", digest=KEY, memory=512 * MIB, cpus=Cpus(sockets=1, cores=2, threads=1),
    disks=(DiskDevice(disk="root", slot=0, serial="root-1"),), nics=(NicDevice(port="files.lan", slot=4, mac=MAC),),
    media=(MediaDevice(image="small", version="1.0", slot=8),), seed=True, passthrough=("0000:01:00.0",),
)  # fmt: skip
_SUBNET = Subnet(
    prefix="10.9.0.0/24", own="10.9.0.1", gateway="10.9.0.1", first="10.9.0.100", last="10.9.0.200", dns=("9.9.9.9",)
)
_NETWORK = NetworkSpec(
    name="lan", digest=KEY, kind="nat", subnets=(_SUBNET,), domain="skep.internal", forwarders=("9.9.9.9",),
    leases=(Lease(mac=MAC, addresses=("10.9.0.5",), hostname="files"),), nat_prefix="169.254.9.0/30",
    host_address="10.9.0.254/24",
)  # fmt: skip
_RULE = FilterRule(direction="in", family="ipv4", protocol="tcp", first=22, last=22, remote="10.0.0.0/8")
_PORT = PortSpec(
    name="files.lan", network="lan", digest=KEY, rules_digest=KEY, mac=MAC, guest="files", addresses=("10.9.0.5",),
    pairs=(AddressPair(mac=MAC, prefix="10.9.0.6/32"),), rules=(_RULE,), vlans=(10,),
)  # fmt: skip
_ROUTER = RouterSpec(
    name="edge", digest=KEY, legs=(RouterLeg(network="lan", addresses=("10.9.0.1/24",), mac=MAC, snat=True),),
    routes=(Route(prefix="0.0.0.0/0", via="10.9.0.254"),),
    floating=(FloatingAddress(outside="10.9.0.7", inside="10.8.0.7"),),
    forwards=(PortForward(protocol="tcp", outside="10.9.0.8", outside_port=80, inside="10.8.0.8", inside_port=80),),
)  # fmt: skip

STORAGE: tuple[Any, ...] = (
    CreateGuestFolder(guest="files"),
    CreateGuestFolder(guest="copy"),
    TrashGuestFolder(guest="copy", key=KEY),
    UntrashGuestFolder(guest="copy", key=KEY),
    EmptyTrash(key=KEY),
    CreateDisk(guest="files", disk="root", size=8 * MIB, image="small", version="1.0"),
    CreateDisk(guest="files", disk="data", size=8 * MIB, format="raw", edition="full"),
    CreateDisk(guest="copy", disk="root", size=8 * MIB, source_guest="files"),
    GrowDisk(guest="files", disk="data", size=16 * MIB),
    RemoveDisk(guest="files", disk="data", key=KEY),
    SnapshotGuest(guest="files", snapshot="nightly"),
    RollBackGuest(guest="files", snapshot="nightly"),
    RemoveSnapshot(guest="files", snapshot="nightly"),
    CompareSnapshot(guest="files", snapshot="nightly"),
    WriteSeed(guest="files", user_data="#cloud-config\n", meta_data="", network_config=""),
    OpenImageWriter(image="other", version="2.0", format="raw", size=2 * MIB),
    PublishImage(image="other", version="2.0", format="raw", digest=KEY),
    AbandonImage(image="other", version="2.0"),
    RemoveImage(image="other", version="2.0"),
    ReadStorage(),
)
ADOPTION: tuple[Any, ...] = (
    ReadVmBhyve(),
    AdoptDisk(guest="files", disk="root", source="zroot/vm/web/disk0"),
    AdoptDisk(guest="files", disk="root", source="zroot/vm/web/disk0", undo=True),
    AdoptVariables(guest="files", source="zroot/vm/web"),
)
_STREAM = SnapshotStream(guest="files", disk="root", snapshot="nightly", base="weekly", base_kind="bookmark")
STREAMS: tuple[Any, ...] = (
    EstimateSend(stream=_STREAM),
    SendSnapshot(stream=SnapshotStream(guest="files", snapshot="nightly", token="1-d43d09d25-b8-789c63")),
    ReceiveSnapshot(guest="files", snapshot="nightly", size=MIB, disks=("root",), frozen=True),
    ReceiveSnapshot(guest="files", disk="root", snapshot="nightly", edition="full", image="debian", version="13.1"),
    AbandonReceive(guest="files", disk="root"),
    ReceiveImage(image="other", version="2.0", digest=KEY, size=MIB),
    ReadReplica(guest="files"),
    PromoteGuest(guest="files"),
    BookmarkSnapshot(guest="files", snapshot="nightly", remove=True),
)
GUESTS: tuple[Any, ...] = (
    StartGuest(guest=_GUEST),
    StopGuest(guest="files", timeout=1),
    ResetGuest(guest="files"),
    PauseGuest(guest="files"),
    ResumeGuest(guest="files"),
    ReadGuests(),
    ReadConsole(guest="files", offset=-1, length=100),
    OpenConsole(guest="files", writer=True),
    OpenScreen(guest="files"),
    OpenAgent(guest="files"),
    Probe(kind="tcp", guest="files", network="lan", address="10.9.0.5", port=22, text="login:", timeout=0),
)
NETWORKS: tuple[Any, ...] = (
    ApplyNetwork(network=_NETWORK),
    RemoveNetwork(network="lan"),
    ApplyPort(port=_PORT),
    RemovePort(port="files.lan", network="lan"),
    SetGroup(network="lan", group="web", addresses=("10.9.0.5/32",)),
    ApplyRouter(router=_ROUTER),
    RemoveRouter(router="edge"),
    ReadNetworks(),
)
HOST: tuple[Any, ...] = (ReadInventory(), ReadUsage())
"""Asks tools of the host, and has no field: not carried out a hundred thousand times."""
NASTY: tuple[Any, ...] = (
    "", ".", "..", "/", "../..", "../../../../etc/passwd", "/etc/passwd", "a/b", "files/../copy", "a,b", "a=b",
    "a\nb", "files\n", "\nfiles", "a\0b", "files\0", "a b", " ", "-rf", "--help", "%s%n", "$(id)", "`id`", "a;b", "a|b",
    "a'b", 'a"b', "a\\b", "*", "~root", "A", "é", "\u202e", "\ud800", "\x1b[2J", "a" * 63, "a" * 64, "a" * 4096,
    "definition", "disks", ".new", "con", "json:{}", "nbd://host/x", "0x10", "1e3", None, True, False, 0, 1, -1,
    2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, 1e308, [], [None], {}, {"type": "ReadStorage"}, ["a"] * 100,
    {"$ref": "#"},
)  # fmt: skip
GOOD: tuple[Any, ...] = (
    "files", "copy", "other", "root", "data", "nightly", "small", "1.0", "2.0", KEY, "f" * 64, "raw", "qcow2", "iso",
    "thin", "full", "lan", MAC, "10.9.0.9", "::1", "10.0.0.0/8", MIB, 8 * MIB, 16 * MIB, 1 << 40, 1 << 48,
)  # fmt: skip

Json = dict[str, Any]


ALL = (*STORAGE, *ADOPTION, *STREAMS, *GUESTS, *NETWORKS)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a JSON value."""
    found: list[tuple[Any, Any]] = []
    pending = [value]
    while pending:
        item = pending.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            pending.append(item[key])
    return found


class Hostile:
    """An endless source of requests as JSON text, most of them wrong somewhere."""

    def __init__(
        self, seed: int, requests: tuple[Any, ...] = (*STORAGE, *ADOPTION, *STREAMS, *GUESTS, *NETWORKS)
    ) -> None:
        self._random = random.Random(seed)
        self._valid: list[Json] = [codec.encode(request) for request in requests]

    def next(self) -> bytes:
        request = copy.deepcopy(self._random.choice(self._valid))
        if self._random.random() < 0.05:
            return json.dumps(request).encode()
        for _ in range(self._random.choice((1, 1, 1, 2, 5))):
            change = self._random.choice((self._nasty, self._nasty, self._good, self._drop, self._add, self._swap))
            change(request)
        data = json.dumps(request).encode()
        return self._damaged(data) if self._random.random() < 0.1 else data

    def _place(self, request: Json) -> tuple[Any, Any] | None:
        found = places(request)
        return self._random.choice(found) if found else None

    def _nasty(self, request: Json) -> None:
        if place := self._place(request):
            place[0][place[1]] = copy.deepcopy(self._random.choice(NASTY))

    def _good(self, request: Json) -> None:
        if place := self._place(request):
            place[0][place[1]] = self._random.choice(GOOD)

    def _drop(self, request: Json) -> None:
        if place := self._place(request):
            del place[0][place[1]]

    def _add(self, request: Json) -> None:
        keys = ("path", "pool", "guest", "disk", "size", "format", "source_guest", "__class__", "type", "undo", "x")
        request[self._random.choice(keys)] = copy.deepcopy(self._random.choice((*NASTY, *GOOD)))

    def _swap(self, request: Json) -> None:
        first, second = self._place(request), self._place(request)
        if first and second and first[0] is not second[0][second[1]] and second[0] is not first[0][first[1]]:
            left, right = first[0][first[1]], second[0][second[1]]
            first[0][first[1]], second[0][second[1]] = copy.deepcopy(right), copy.deepcopy(left)

    def _damaged(self, data: bytes) -> bytes:
        at = self._random.randrange(len(data))
        return self._random.choice(
            (
                data[:at],
                data[:at] + bytes([self._random.randrange(256)]) + data[at + 1 :],
                data[:at] + data[at:] * 2,
                data[:at] + self._random.randbytes(8) + data[at:],
                b"[" * at + data,
            )
        )
