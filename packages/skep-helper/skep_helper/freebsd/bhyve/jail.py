"""The jail that a guest's bhyve runs in: its commands, as tried on FreeBSD 13.2. Pure functions.

Its root is a read-only copy of bhyve and its libraries that guests share (``root``), its devices are the guest's own
alone, its network stack is empty but for the taps before they move on, and 127.0.0.1 for the screen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

Command = list[str]
# vmmctl: from FreeBSD 15 on VMs are made by it; a rule for a device that is not there does nothing.
_DEVICES = ("null", "zero", "random", "urandom", "vmm", "vmm.io", "vmmctl")


@dataclass(frozen=True, kw_only=True)
class Jail:
    """name: of the jail, without a dot, which would make it a jail within another. vm: the VM's name. root: where its
    root is mounted; shared: what is mounted there; agent: the folder for the agent's socket, or empty. ruleset: the
    number of its devfs rules. devices: below /dev, besides those that every bhyve needs."""

    name: str
    vm: str
    root: str
    shared: str
    ruleset: int
    devices: tuple[str, ...] = ()
    agent: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def from_json(value: dict[str, Any]) -> Jail:
    return Jail(**{**value, "devices": tuple(value["devices"])})


def patterns(jail: Jail) -> list[str]:
    """devfs(8) patterns of what is visible."""
    return [*_DEVICES, f"vmm/{jail.vm}", f"vmm.io/{jail.vm}.*", *jail.devices]


def rules(jail: Jail) -> list[Command]:
    """Its devfs rule set, made anew."""
    begin = ["devfs", "rule", "-s", str(jail.ruleset)]
    show = [[*begin, "add", "path", pattern, "unhide"] for pattern in patterns(jail)]
    return [[*begin, "delset"], [*begin, "add", "hide"], *show]


def mounts(jail: Jail) -> list[Command]:
    """Its root, and in it: the files that bhyve is given as open descriptors (fdescfs), room for the ACPI tables that
    it has compiled, the agent's socket."""
    found = [["mount", "-t", "nullfs", "-o", "ro", jail.shared, jail.root]]
    found.append(["mount", "-t", "fdescfs", "fdescfs", f"{jail.root}/fd"])
    found.append(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", f"{jail.root}/tmp"])  # noqa: S108 - its own
    if jail.agent:
        found.append(["mount", "-t", "nullfs", jail.agent, f"{jail.root}/run"])
    return found


def create(jail: Jail) -> Command:
    """allow.vmm is an unknown parameter as long as vmm(4) is not loaded."""
    return [
        "jail", "-c", f"name={jail.name}", "vnet", "persist", f"path={jail.root}", "allow.vmm", "mount.devfs",
        f"devfs_ruleset={jail.ruleset}", "enforce_statfs=2", f"host.hostname={jail.name}",
    ]  # fmt: skip


def identify(jail: Jail) -> Command:
    return ["jls", "-j", jail.name, "jid"]


def remove(jail: Jail) -> Command:
    """Ends what runs in it. Its VM stays, and its mounts."""
    return ["jail", "-r", jail.name]


def unmounts(jail: Jail, mounted: Iterable[str]) -> list[Command]:
    """mounted: all mount points of the host. Those of the jail, deepest first; by force, because a jail whose
    connections still time out keeps its root busy, and nothing runs in it any more."""
    ours = [path for path in mounted if path == jail.root or path.startswith(f"{jail.root}/")]
    return [["umount", "-f", path] for path in sorted(ours, key=len, reverse=True)]


def forget_rules(jail: Jail) -> Command:
    return ["devfs", "rule", "-s", str(jail.ruleset), "delset"]


def mount_points(text: str) -> list[str]:
    """From `mount -p`: the second field of each line, where a blank is written as \\040."""
    fields = (line.split() for line in text.splitlines())
    return [words[1].replace("\\040", " ") for words in fields if len(words) > 1]
