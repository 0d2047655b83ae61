"""What should be: the objects of a host, frozen. Checks that need one object alone are in ``checks``.

Sizes are bytes, times are seconds. Every object with a definition of its own has `name` and `manager`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .names import Manager


@dataclass(frozen=True, kw_only=True)
class Cpus:
    sockets: int = 1
    cores: int = 1
    threads: int = 1

    @property
    def total(self) -> int:
        return self.sockets * self.cores * self.threads


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of a guest. size None: that of its image. edition: thin (linked clone) or full (its own copy)."""

    name: str
    size: int | None = None
    image: str | None = None
    """NAME or NAME:VERSION; without a version the one of the image definition."""
    edition: str = "thin"
    format: str | None = None
    """qcow2, raw or zvol; None: what the host's storage uses by default."""
    model: str | None = None
    """virtio, ahci or nvme; None: by profile."""
    discard: bool = True
    slot: int | None = None
    """Where the device sits in the guest. None: plan gives it a free one, which stays its own (see plan.slots)."""


@dataclass(frozen=True, kw_only=True)
class Nic:
    """A network card of a guest, connected to the port of this name."""

    port: str
    model: str | None = None
    slot: int | None = None


@dataclass(frozen=True, kw_only=True)
class Media:
    """An installation medium (image of format iso). until_reboot: detached at the installer's first reboot."""

    image: str
    until_reboot: bool = True
    slot: int | None = None


@dataclass(frozen=True, kw_only=True)
class CloudInit:
    """NoCloud seed. user_data, when given, is used as it stands instead of what the other fields say."""

    hostname: str | None = None
    user: str | None = None
    ssh_keys: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    user_data: str | None = None
    network_config: str | None = None


@dataclass(frozen=True, kw_only=True)
class Gate:
    """When a started guest counts as healthy. kind: serial (text), ping, tcp (port) or agent."""

    kind: str
    text: str = ""
    port: int = 0
    address: str | None = None
    timeout: int = 300


@dataclass(frozen=True, kw_only=True)
class Boot:
    """Start and stop order. Guests start after those named in `after` are healthy; they stop in reverse."""

    order: int = 100
    after: tuple[str, ...] = ()
    delay: int = 0
    gate: Gate | None = None
    shutdown_timeout: int = 60


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A guest. power: what it should be now ("on" or "off"); autostart: whether "on" holds after the host's boot."""

    name: str
    manager: Manager = Manager.SITE
    description: str = ""
    profile: str = "linux"
    cpus: Cpus = field(default_factory=Cpus)
    memory: int = 512 << 20
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    media: tuple[Media, ...] = ()
    cloud_init: CloudInit | None = None
    boot: Boot = field(default_factory=Boot)
    power: str = "on"
    autostart: bool = True
    screen: bool = True
    agent: bool = True
    tpm: bool = False
    secure_boot: bool = False
    local_clock: bool | None = None
    passthrough: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Port:
    """A connection of a guest to a network. mac None: derived from the name, always the same."""

    name: str
    manager: Manager = Manager.SITE
    network: str
    guest: str | None = None
    mac: str | None = None
    addresses: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    """Filters (security groups). None at all: everything passes the rules; the guard holds still."""
    pairs: tuple[tuple[str | None, str], ...] = ()
    """Further (MAC or None, prefix) that the guest may use as source."""
    guard: bool = True
    vlans: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """An address range of a network; see the vocabulary's Subnet for the fields' meaning."""

    prefix: str
    own: str | None = None
    gateway: str | None = None
    dhcp: bool = True
    first: str | None = None
    last: str | None = None
    dns: tuple[str, ...] = ()
    advertise: str = ""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network. kind: isolated, nat, flat (uplink), vlan (uplink, vlan) or vxlan (vni, local, remotes)."""

    name: str
    manager: Manager = Manager.SITE
    kind: str = "isolated"
    subnets: tuple[Subnet, ...] = ()
    domain: str = "skep.internal"
    forwarders: tuple[str, ...] = ()
    mtu: int = 1500
    uplink: str | None = None
    vlan: int | None = None
    vni: int | None = None
    local: str | None = None
    remotes: tuple[str, ...] = ()
    host_address: str | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One allowed flow; see the vocabulary's FilterRule. ports: "22", "8000-8100" or "" for any."""

    direction: str
    family: str = "ipv4"
    protocol: str = ""
    ports: str = ""
    icmp_type: int = -1
    icmp_code: int = -1
    remote: str | None = None
    group: str | None = None
    """The name of a filter: its members are all ports that use it."""
    stateless: bool = False


@dataclass(frozen=True, kw_only=True)
class Filter:
    """A security group: what its members may receive and send. Nothing else passes."""

    name: str
    manager: Manager = Manager.SITE
    description: str = ""
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Leg:
    network: str
    addresses: tuple[str, ...]
    snat: bool = False


@dataclass(frozen=True, kw_only=True)
class Forward:
    protocol: str
    outside: str
    outside_port: int
    inside: str
    inside_port: int


@dataclass(frozen=True, kw_only=True)
class Router:
    """A router with a leg in each network. routes: (prefix, via); floating: (outside, inside) addresses."""

    name: str
    manager: Manager = Manager.SITE
    legs: tuple[Leg, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    floating: tuple[tuple[str, str], ...] = ()
    forwards: tuple[Forward, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image that the host should have: pulled from the first source that has it, verified, kept."""

    name: str
    manager: Manager = Manager.SITE
    version: str
    sources: tuple[str, ...] = ()
    """Base URLs of folders of published images."""


Object = Guest | Port | Network | Filter | Router | Image
