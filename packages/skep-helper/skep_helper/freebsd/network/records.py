"""What the network part remembers until the next boot: one JSON file per object, root's alone, replaced atomically.

The jails are gone after a boot, and so is the folder these files are in. A record is written before its object is made,
so that whatever a crash leaves is known to be ours and the next Apply repairs it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import codec
from ...locks import alone
from ...policy import Policy
from ...vocabulary import NetworkSpec, PortSpec, RouterSpec
from . import names

TURN = 90.0
"""Seconds to wait for the network part. A tool that hangs is given up after a minute (run)."""


@dataclass
class NetworkRecord:
    """spec: what was applied last (or is being applied, while done is False). jid: of the jail.

    built: the spec of the last Apply that came to its end, whose way out may still stand. members: what its ways out
    have in its bridge; inside, outside: interfaces of them that must be up in its stack and on the host; joined: the
    bridge of the host by the interface that must be a member of it. groups: remote groups, each with its addresses as
    they were asked for; an empty one is being changed, or was when the helper was killed.
    """

    spec: NetworkSpec
    jid: int = 0
    done: bool = False
    built: NetworkSpec | None = None
    members: list[str] = field(default_factory=list)
    inside: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    joined: dict[str, str] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class PortRecord:
    """device: what /dev has for its tap (a guest opens it by this name, whatever the interface is called).

    lent: the jail of the guest that the tap was moved into, until that guest has opened it; 0 when it is not lent.
    """

    spec: PortSpec
    interface: str
    device: str = ""
    lent: int = 0
    done: bool = False


@dataclass
class RouterRecord:
    spec: RouterSpec
    jid: int = 0
    done: bool = False


@contextlib.contextmanager
def locked(policy: Policy, what: str) -> Iterator[None]:
    """Alone with the network part: guards move their guests' taps while the helper works. what: is being done.

    Raises Failure(busy) when it is not its turn for long, naming who has it.
    """
    folder = names.state_folder(policy)
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    with alone(f"{folder}/lock", what, TURN):
        yield


class Records:
    """The records below policy.run/networks. Whoever writes holds the lock."""

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
        self._path(kind, name).unlink(missing_ok=True)

    def host_values(self) -> dict[str, int] | None:
        """Sysctls of the host from before Skep changed them; None when it has not."""
        return self._read("host", "forwarding")

    def save_host_values(self, values: dict[str, int]) -> None:
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
        try:
            table = codec.loads(self._path(kind, name).read_bytes())
        except FileNotFoundError:
            return None
        return {
            key: codec.decode(value) if key in ("spec", "built") and value else value for key, value in table.items()
        }

    def _write(self, kind: str, name: str, table: dict[str, Any]) -> None:
        path = self._path(kind, name)
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(codec.dumps(table))
        temporary.rename(path)
