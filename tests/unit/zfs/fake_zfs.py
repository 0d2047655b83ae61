"""A stand-in for zfs(8), zpool(8), mount(8) at the one door for processes: a pool in memory, volumes as files.

It knows the words that Skep writes and nothing else, refuses as the recorded OpenZFS does (the same texts), keeps every
command in `calls`, and can die before one of them. It removes nothing outside its own folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skep_helper.run import Done
from skep_helper.zfs.listing import COLUMNS, MARKS


class Died(BaseException):
    """The helper dies here."""


class Refused(Exception):
    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status


@dataclass
class Node:
    """A dataset or snapshot. content: its folder (file system), its file (volume), None while it is not mounted."""

    name: str
    kind: str
    txg: int
    content: Path | None = None
    size: int = 0
    block: int = 0
    local: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    holds: set[str] = field(default_factory=set)
    mounted: bool = False
    deferred: bool = False

    @property
    def data(self) -> Path:
        assert self.content is not None, f"{self.name} is not mounted"
        return self.content


class FakeZfs:
    """Pool `tank`. available: bytes that are left. busy: how often a dataset is in use yet. dies_at: the command, from
    1 on. hook: called before each command."""

    def __init__(self, folder: Path) -> None:
        assert folder.is_absolute()
        self.folder = folder
        self.zvol = folder / "zvol"
        self.nodes: dict[str, Node] = {}
        self.calls: list[list[str]] = []
        self.available = 1 << 40
        self.busy: dict[str, int] = {}
        self.dies_at = 0
        self.hook: Callable[[list[str]], None] = lambda argv: None
        self.health = "ONLINE"
        self._txg = 0
        self._mounts: set[str] = set()
        self.add("tank", "filesystem", mountpoint=str(folder / "tank"))

    # At the door

    def attempt(self, argv: Sequence[str], stdin: bytes = b"", timeout: float = 0, tick: Any = None) -> Done:
        self.calls.append(list(argv))
        self.hook(list(argv))
        if self.dies_at and len(self.calls) == self.dies_at:
            raise Died
        if tick:
            tick()
        program, verb, *words = argv
        try:
            if program in ("mount", "umount"):
                return Done(0, (self._mount(argv[-2], argv[-1]) if program == "mount" else self._umount(verb)).encode())
            return Done(0, getattr(self, f"{program}_{verb}")(*words).encode())
        except Refused as refused:
            return Done(refused.status, b"", f"{refused}\n".encode())

    def copy(self, snapshot: str, target: str, options: Sequence[str], progress: Any) -> None:
        """Instead of zfs.streams.copy."""
        self.calls.append(["copy", snapshot, target, *options])
        taken = self._find(snapshot)
        made = self.add(target, "volume", size=taken.size, block=taken.block, **self._options(options)[0])
        shutil.copy(taken.data, made.data)
        progress(taken.size, taken.size)

    # What there is

    def add(self, name: str, kind: str, size: int = 0, block: int = 0, **local: str) -> Node:
        if name in self.nodes:
            raise Refused(f"cannot create '{name}': dataset already exists")
        parent = name.rpartition("/")[0]
        if parent and parent not in self.nodes:
            raise Refused(f"cannot create '{name}': parent does not exist")
        self._txg += 1
        node = Node(name, kind, self._txg, size=size, block=block, local=local)
        self.nodes[name] = node
        if kind == "volume":
            node.content = self._made(self.zvol / name)
            self._resize(node)
        elif local.get("canmount") != "off":
            self.zfs_mount(name)
        return node

    def snapshots(self, dataset: str) -> list[Node]:
        return [node for name, node in self.nodes.items() if name.startswith(f"{dataset}@")]

    def is_mounted(self, path: str) -> bool:
        here = any(node.mounted and str(self._place(node)) == path for node in self.nodes.values())
        return here or path in self._mounts

    def _made(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @staticmethod
    def _resize(node: Node) -> None:
        with node.data.open("ab") as stream:
            stream.truncate(node.size)

    def _find(self, name: str) -> Node:
        if name not in self.nodes:
            raise Refused(f"cannot open '{name}': dataset does not exist")
        return self.nodes[name]

    def _value(self, node: Node, key: str) -> str:
        """A property, inherited from above."""
        name = node.name.partition("@")[0]
        if key in node.local:
            return node.local[key]
        while name in self.nodes:
            if key in self.nodes[name].local:
                return self.nodes[name].local[key]
            name = name.rpartition("/")[0]
        return "-"

    def _place(self, node: Node) -> Path:
        """Where a file system is mounted."""
        if "mountpoint" in node.local:
            return Path(node.local["mountpoint"])
        parent, _, leaf = node.name.rpartition("/")
        return self._place(self.nodes[parent]) / leaf

    def _below(self, name: str) -> list[str]:
        return [other for other in self.nodes if other == name or other.startswith((f"{name}/", f"{name}@"))]

    def _clones(self, snapshot: str) -> list[str]:
        return [node.name for node in self.nodes.values() if node.origin == snapshot]

    @staticmethod
    def _options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """-o key=value, and what is not one."""
        options, rest, words = {}, [], list(words)
        while words:
            word = words.pop(0)
            if word == "-o":
                key, _, value = words.pop(0).partition("=")
                options[key] = value
            else:
                rest.append(word)
        return options, rest

    def _require_idle(self, name: str, text: str) -> None:
        if self.busy.get(name, 0) > 0:
            self.busy[name] -= 1
            raise Refused(text)

    # zfs

    def zfs_list(self, *words: str) -> str:
        name, columns = words[-1], words[words.index("-o") + 1].split(",")
        self._find(name)
        depth = int(words[words.index("-d") + 1]) if "-d" in words else 99
        kinds = words[words.index("-t") + 1].split(",")
        lines = []
        for other in sorted(self._below(name), key=lambda each: (each.partition("@")[0], self.nodes[each].txg)):
            node = self.nodes[other]
            level = other.removeprefix(name).count("/") + ("@" in other and "@" not in name)
            if node.kind in kinds and level <= depth:
                lines.append("\t".join(self._column(node, column) for column in columns))
        return "".join(f"{line}\n" for line in lines)

    def _column(self, node: Node, column: str) -> str:
        volume = node.size > 0
        plain = {
            "name": node.name, "type": node.kind, "creation": str(1_700_000_000 + node.txg), "createtxg": str(node.txg),
            "used": str(node.size or 4096), "volsize": str(node.size) if volume else "-",
            "available": "-" if "@" in node.name else str(self.available),
            "volblocksize": str(node.block) if volume else "-", "refreservation": node.local.get("refreservation", "0"),
            "origin": node.origin or "-", "userrefs": str(len(node.holds)) if "@" in node.name else "-",
            "mounted": ("yes" if node.mounted else "no") if node.kind == "filesystem" else "-",
            "mountpoint": str(self._place(node)) if node.kind == "filesystem" else "-",
            "clones": ",".join(self._clones(node.name)) or "-",
        }  # fmt: skip
        assert column in (*COLUMNS, "clones"), column
        return self._value(node, column) if column in MARKS else plain[column]

    def zfs_get(self, *words: str) -> str:
        """written@SNAPSHOT of volumes: as many bytes as differ."""
        flags, columns, prop, names = words[:2], words[2], words[3], words[4:]
        assert (flags, columns) == (("-Hp", "-o"), "name,value")
        leaf = prop.removeprefix("written@")
        return "".join(f"{name}\t{self._written(name, leaf)}\n" for name in names)

    def _written(self, name: str, leaf: str) -> int:
        then, now = self._find(f"{name}@{leaf}").data.read_bytes(), self._find(name).data.read_bytes()
        return sum(one != other for one, other in zip(then, now, strict=False))

    def zfs_create(self, *words: str) -> str:
        options, rest = self._options(words)
        if "-V" not in rest:
            self.add(rest[-1], "filesystem", **options)
            return ""
        assert "volmode" not in options, "set on the volume, it loses device nodes"
        size, block = int(rest[rest.index("-V") + 1]), int(options.pop("volblocksize"))
        if "-s" not in rest:
            if size > self.available:
                raise Refused(f"cannot create '{rest[-1]}': out of space")
            options["refreservation"] = str(size)
        self.add(rest[-1], "volume", size, block, **options)
        return ""

    def zfs_mount(self, name: str) -> str:
        node = self._find(name)
        if node.mounted:
            raise Refused(f"cannot mount '{node.name}': filesystem already mounted")
        node.mounted, node.content = True, self._place(node)
        node.content.mkdir(parents=True, exist_ok=True, mode=0o755)
        return ""

    def zfs_set(self, *words: str) -> str:
        node = self._find(words[-1])
        for word in words[:-1]:
            key, _, value = word.partition("=")
            assert key not in ("volmode", "snapdev"), "only to mend a node"
            if key == "volsize":
                assert int(value) % node.block == 0
                node.size = int(value)
                self._resize(node)
            else:
                node.local[key] = str(node.size) if key == "refreservation" else value
        return ""

    def zfs_snapshot(self, *words: str) -> str:
        options, names = self._options(words)
        for name in names:
            self._find(name.partition("@")[0])
            if name in self.nodes:
                raise Refused(f"cannot create snapshot '{name}': dataset already exists")
        self._txg += 1
        for name in names:
            of = self.nodes[name.partition("@")[0]]
            if of.kind == "volume":
                content = Path(shutil.copy(of.data, self._made(self.zvol / name)))
            else:
                content = Path(shutil.copytree(of.data, self._made(self.folder / "snapshots" / name)))
            self.nodes[name] = Node(name, "snapshot", self._txg, content, of.size, of.block, dict(options))
        return ""

    def zfs_clone(self, *words: str) -> str:
        options, (snapshot, name) = self._options(words)
        assert "volmode" not in options
        taken = self._find(snapshot)
        made = self.add(name, "volume", taken.size, taken.block, **options)
        made.origin = snapshot
        shutil.copy(taken.data, made.data)
        return ""

    def zfs_hold(self, tag: str, name: str) -> str:
        self._find(name).holds.add(tag)
        return ""

    def zfs_release(self, tag: str, name: str) -> str:
        self._find(name).holds.discard(tag)
        return ""

    def zfs_rename(self, old: str, new: str) -> str:
        node = self._find(old)
        if new in self.nodes:
            raise Refused(f"cannot rename '{old}': dataset already exists")
        if new.rpartition("/")[0] not in self.nodes:
            raise Refused(f"cannot create '{new}': parent does not exist")
        self._require_idle(old, f"cannot unmount '{old}': pool or dataset is busy")
        before = self._place(node) if node.kind == "filesystem" else None
        for name in self._below(old):
            moved = self.nodes.pop(name)
            moved.name = new + name.removeprefix(old)
            if moved.content is not None and moved.content.is_relative_to(self.zvol):
                moved.content = moved.content.rename(self._made(self.zvol / moved.name))
            self.nodes[moved.name] = moved
        for other in self.nodes.values():
            if other.origin.startswith((f"{old}@", f"{old}/")):
                other.origin = new + other.origin.removeprefix(old)
        if before is not None and before.exists():
            before.rename(self._made(self._place(node)))
        for moved in self.nodes.values():
            if moved.mounted:
                moved.content = self._place(moved)
        return ""

    def zfs_promote(self, name: str) -> str:
        clone = self._find(name)
        if not clone.origin:
            raise Refused(f"cannot promote '{clone.name}': not a cloned filesystem")
        origin = self.nodes[clone.origin]
        parent = self.nodes[origin.name.partition("@")[0]]
        for snapshot in [node for node in self.snapshots(parent.name) if node.txg <= origin.txg]:
            old = snapshot.name
            del self.nodes[old]
            snapshot.name = f"{clone.name}@{old.partition('@')[2]}"
            snapshot.content = snapshot.data.rename(self._made(self.zvol / snapshot.name))
            self.nodes[snapshot.name] = snapshot
            for other in self.nodes.values():
                if other.origin == old:
                    other.origin = snapshot.name
        clone.origin, parent.origin = parent.origin, f"{clone.name}@{origin.name.partition('@')[2]}"
        return ""

    def zfs_rollback(self, name: str) -> str:
        snapshot = self._find(name)
        volume = self.nodes[snapshot.name.partition("@")[0]]
        newer = [node.name for node in self.snapshots(volume.name) if node.txg > snapshot.txg]
        if newer:
            raise Refused(
                f"cannot rollback to '{snapshot.name}': more recent snapshots or bookmarks exist\n"
                f"use '-r' to force deletion of the following snapshots and bookmarks:\n" + "\n".join(newer)
            )
        shutil.copy(snapshot.data, volume.data)
        volume.size = snapshot.size
        return ""

    def zfs_destroy(self, *words: str) -> str:
        name, recursive = words[-1], "-r" in words
        if "@" in name:
            return self._destroy_snapshots(name, recursive, deferred="-d" in words)
        node = self._find(name)
        self._require_idle(name, f"cannot destroy '{name}': dataset is busy")
        doomed = self._below(name)
        if len(doomed) > 1 and not recursive:
            raise Refused(f"cannot destroy '{name}': {node.kind} has children")
        for each in doomed:
            outside = [clone for clone in self._clones(each) if clone not in doomed]
            if outside:
                raise Refused(f"cannot destroy '{name}': {node.kind} has dependent clones\n" + "\n".join(outside))
            if self.nodes[each].holds:
                raise Refused(f"cannot destroy snapshot {each}: dataset is busy")
        for each in doomed:
            self._drop(self.nodes[each])
        return ""

    def _destroy_snapshots(self, name: str, recursive: bool, deferred: bool) -> str:
        dataset, _, leaf = name.partition("@")
        found = [name] if name in self.nodes else []
        if recursive:
            found = [other for other in self._below(dataset) if other.endswith(f"@{leaf}")]
        if not found:
            raise Refused("could not find any snapshots to destroy; check snapshot names.")
        for each in found:
            if self._clones(each) and not deferred:
                clones = "\n".join(self._clones(each))
                raise Refused(f"cannot destroy '{each}': snapshot has dependent clones\n{clones}")
            if self.nodes[each].holds:
                raise Refused(f"cannot destroy snapshot {each}: dataset is busy")
        for each in found:
            if self._clones(each):
                self.nodes[each].deferred = True
            else:
                self._drop(self.nodes[each])
        return ""

    def _drop(self, node: Node) -> None:
        self.nodes.pop(node.name, None)
        if node.content is not None:
            self._erase(node.content)
        origin = self.nodes.get(node.origin)
        if origin and origin.deferred and not self._clones(origin.name):
            self._drop(origin)

    def _erase(self, path: Path) -> None:
        assert path.is_relative_to(self.folder), path
        assert path != self.folder
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()

    # zpool, mount

    def zpool_list(self, *words: str) -> str:
        return f"tank\t{self.health}\t12\n"

    def _mount(self, snapshot: str, path: str) -> str:
        shutil.copytree(self._find(snapshot).data, path, dirs_exist_ok=True)
        self._mounts.add(path)
        return ""

    def _umount(self, path: str) -> str:
        self._mounts.remove(path)
        for entry in Path(path).iterdir():
            self._erase(entry)
        return ""
