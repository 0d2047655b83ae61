"""What the network part remembers until the next boot: one JSON file per object, root's alone, replaced atomically.

The namespaces are gone after a boot, and so is the folder these files are in. A record is written before its object
is made, so that whatever a crash leaves is known to be ours and the next Apply repairs it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import codec
from ...policy import Policy
from ...vocabulary import NetworkSpec, PortSpec, RouterSpec
from . import names

_known: dict[str, tuple[tuple[int, int, int], dict[str, Any]]] = {}
"""Records as they were read last, by path: the file's inode, time and size, and what is in it."""


@dataclass
class NetworkRecord:
    """spec: what was applied last (or is being applied, while done is False). inode: of the namespace.

    built: the spec of the last Apply that came to its end, whose way out may still stand. groups: remote groups, each
    with its addresses as they were asked for; an empty one is being changed, or was when the helper was killed.
    """

    spec: NetworkSpec
    inode: int = 0
    done: bool = False
    built: NetworkSpec | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class PortRecord:
    """number: of the port in its network, 1..32767, in marks of its packets and flows.

    uses: how much each of its chains holds ("FAMILY CHAIN" -> count), so that a rule removed by hand is noticed.
    """

    spec: PortSpec
    interface: str
    number: int
    done: bool = False
    uses: dict[str, int] = field(default_factory=dict)


@dataclass
class RouterRecord:
    spec: RouterSpec
    inode: int = 0
    done: bool = False


class Records:
    """The records below policy.run/networks. Not thread-safe: short requests run in order."""

    def __init__(self, policy: Policy) -> None:
        self.folder = names.state_folder(policy)

    def network(self, name: str) -> NetworkRecord | None:
        table = self._read("network", name)
        return None if table is None else NetworkRecord(**table)

    def port(self, name: str) -> PortRecord | None:
        table = self._read("port", name)
        return None if table is None else PortRecord(**table)

    def router(self, name: str) -> RouterRecord | None:
        table = self._read("router", name)
        return None if table is None else RouterRecord(**table)

    def networks(self) -> list[NetworkRecord]:
        return [record for name in self._names("network") if (record := self.network(name))]

    def ports(self, network: str | None = None) -> list[PortRecord]:
        found = [record for name in self._names("port") if (record := self.port(name))]
        return [record for record in found if network in (None, record.spec.network)]

    def routers(self) -> list[RouterRecord]:
        return [record for name in self._names("router") if (record := self.router(name))]

    def save(self, record: NetworkRecord | PortRecord | RouterRecord) -> None:
        kind = {NetworkRecord: "network", PortRecord: "port", RouterRecord: "router"}[type(record)]
        self._write(kind, record.spec.name, {key: codec.encode(value) for key, value in vars(record).items()})

    def forget(self, kind: str, name: str) -> None:
        _known.pop(str(self._path(kind, name)), None)
        self._path(kind, name).unlink(missing_ok=True)

    def host_values(self) -> dict[str, str] | None:
        """Values of the host's stack from before Skep changed them; None when it has not."""
        return self._read("host", "forwarding")

    def save_host_values(self, values: dict[str, str]) -> None:
        self._write("host", "forwarding", values)

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.json"

    def _names(self, kind: str) -> list[str]:
        try:
            entries = os.listdir(self.folder / kind)
        except FileNotFoundError:
            return []
        return sorted(entry.removesuffix(".json") for entry in entries if entry.endswith(".json"))

    def _read(self, kind: str, name: str) -> dict[str, Any] | None:
        """Decoded once for each state of the file: every pass reads all records, and few of them have changed."""
        path = str(self._path(kind, name))
        try:
            status = os.stat(path)
            state = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = _known.get(path)
            if known is None or known[0] != state:
                with open(path, "rb") as stream:
                    known = _known[path] = (state, _decoded(codec.loads(stream.read())))
        except FileNotFoundError:
            _known.pop(path, None)
            return None
        return {key: dict(value) if isinstance(value, dict) else value for key, value in known[1].items()}

    def _write(self, kind: str, name: str, table: dict[str, Any]) -> None:
        path = self._path(kind, name)
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(codec.dumps(table))
        _known.pop(str(path), None)
        temporary.rename(path)


def _decoded(table: dict[str, Any]) -> dict[str, Any]:
    return {key: codec.decode(value) if key in ("spec", "built") and value else value for key, value in table.items()}
