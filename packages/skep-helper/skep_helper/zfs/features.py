"""What of the storage works: tried with a small volume; and how the pool is."""

from __future__ import annotations

from ..handlers import Failure
from ..policy import Policy
from ..vocabulary import Feature
from . import names, nodes, removal
from .creation import BLOCK
from .tool import zfs, zpool

_PROBE = "probe.new"
_SIZE = 1 << 20
_TELLING = {
    "DEGRADED": "some of its disks are missing or failed and there is no spare copy of the data: replace them",
    "FAULTED": "it cannot be read: bring its disks back and see zpool clear",
    "SUSPENDED": "all of its I/O has stopped: bring its disks back, then zpool clear",
    "UNAVAIL": "its disks cannot be opened: bring them back, then zpool import",
}


def features(policy: Policy) -> tuple[Feature, ...]:
    return (
        _feature("zfs", _try_volume(policy)),
        _feature("files", "disks are volumes of the pool on this host"),
        _feature("pool-health", health(policy)),
    )


def _try_volume(policy: Policy) -> str:
    """Why no volume with a device node can be made; empty when it can."""
    name = names.dataset(policy, names.INCOMING, _PROBE)
    marks = ("-o", f"volblocksize={BLOCK}", "-o", "skep:format=raw")
    try:
        removal.remove(policy, name)
        zfs("create", "-s", "-V", str(_SIZE), *marks, name)
        try:
            nodes.await_node(name)
        finally:
            removal.remove(policy, name)
    except Failure as failure:
        return failure.message
    return ""


def health(policy: Policy) -> str:
    """What is wrong with the pool; empty when nothing is."""
    pool = policy.dataset.partition("/")[0]
    try:
        return judge(zpool("list", "-Hp", "-o", "name,health,capacity", pool))
    except Failure as failure:
        return failure.message


def judge(line: str) -> str:
    """Of a line NAME, HEALTH, CAPACITY in percent."""
    name, state, capacity = line.strip().split("\t")
    if state != "ONLINE":
        return f"pool {name} is {state}: {_TELLING.get(state, 'see')} (zpool status {name})"
    if int(capacity.rstrip("%")) >= 90:
        return f"pool {name} is {capacity.rstrip('%')} % full and becomes slow: free some space or add disks to it"
    return ""


def _feature(name: str, reason: str) -> Feature:
    return Feature(name=name, works=not reason, reason=reason.replace("\n", " ")[:256])
