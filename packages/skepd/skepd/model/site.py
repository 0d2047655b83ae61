"""A whole machine as site.toml describes it: its host part, and the desired state of its objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .desired import Desired
from .errors import DefinitionError
from .names import Kind, Ref
from .schema import Source


@dataclass(frozen=True, kw_only=True)
class Management:
    """The line that the administrator comes in by: a plan that touches it must be confirmed."""

    interface: str
    address: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, kw_only=True)
class HostSettings:
    """platform None: any. forwarding: whether Skep may switch on the host's IP forwarding while it needs it."""

    name: str
    platform: str | None = None
    forwarding: bool = False
    management: Management | None = None


@dataclass(frozen=True, kw_only=True)
class Storage:
    """backend: files or zfs. mirrors: the devices of each mirror of the pool."""

    backend: str = "files"
    pool: str | None = None
    mirrors: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Uplink:
    """An interface of the host that networks may be put on."""

    name: str
    description: str = ""
    offload_off: tuple[str, ...] = ()
    trunk: tuple[int, ...] = ()
    mtu: int | None = None


@dataclass(frozen=True, kw_only=True)
class HostVlan:
    """A VLAN interface of the host itself."""

    name: str
    uplink: str
    vlan: int
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Retention:
    """How many snapshots are kept: the last ones, and the last of each hour, day, week, month."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Snapshots of guests at times of day ("07:00")."""

    name: str
    guests: tuple[str, ...]
    times: tuple[str, ...]
    keep: Retention
    quiesce: bool = True


@dataclass(frozen=True, kw_only=True)
class Replication:
    """Snapshots of a schedule sent to another host. bandwidth: bytes for each second; None: no limit."""

    name: str
    guests: tuple[str, ...]
    target: str
    schedule: str
    bandwidth: int | None = None


@dataclass(frozen=True, kw_only=True)
class User:
    name: str
    role: str
    full_name: str = ""
    ssh_keys: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HostPart:
    """All of site.toml that is not an object of its own."""

    host: HostSettings
    storage: Storage = field(default_factory=Storage)
    uplinks: Mapping[str, Uplink] = field(default_factory=dict)
    vlans: Mapping[str, HostVlan] = field(default_factory=dict)
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    replications: Mapping[str, Replication] = field(default_factory=dict)
    users: Mapping[str, User] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a site.toml says. not_built: (section, line) of what is understood but not carried out yet: plan shows
    these, apply refuses. places: where each object stands in the text."""

    host_part: HostPart
    desired: Desired
    not_built: tuple[tuple[str, int], ...] = ()
    places: Mapping[Ref, tuple[str, ...]] = field(default_factory=dict, compare=False)
    source: Source = field(default_factory=Source, compare=False)

    def locate(self, error: DefinitionError) -> DefinitionError:
        """An error of `check` with the file, line and path of this site's text; as it is when it is about something
        else."""
        if error.file or len(error.path) < 2 or error.path[0] not in list(Kind):
            return error
        place = self.places.get(Ref(Kind(error.path[0]), error.path[1]))
        if place is None:
            return error
        path = (*place, *error.path[2:])
        return replace(error, file=self.source.file, line=self.source.lines.line(path), path=path)


def least_host_part(name: str, desired: Desired) -> HostPart:
    """The host part that these objects need at the least: for a host that never had a site.toml."""
    uplinks = sorted({network.uplink for network in desired.networks.values() if network.uplink})
    forwarding = any(network.kind == "nat" for network in desired.networks.values())
    settings = HostSettings(name=name, forwarding=forwarding)
    return HostPart(host=settings, uplinks={uplink: Uplink(name=uplink) for uplink in uplinks})
