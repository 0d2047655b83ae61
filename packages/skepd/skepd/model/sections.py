"""The sections of definitions: every key of a guest, port, network, filter, router and image, with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from skep_helper.vocabulary.guest import DISK_MODELS, NIC_MODELS
from skep_helper.vocabulary.network import NETWORK_KINDS
from skep_helper.vocabulary.storage import DISK_FORMATS

from .addresses import Address, InterfaceAddress, Prefix
from .names import Kind, Manager
from .objects import (
    Boot,
    CloudInit,
    Cpus,
    Disk,
    Filter,
    Forward,
    Gate,
    Guest,
    Image,
    Leg,
    Media,
    Network,
    Nic,
    Port,
    Router,
    Subnet,
)
from .profiles import PROFILES
from .rules import Rules
from .schema import Key, Place, Section, read_section, shown, write_section
from .types import (
    DISK_SIZE,
    DOMAIN,
    IMAGE_REFERENCE,
    INTERFACE,
    MAC,
    MEMORY,
    MTU,
    NAME,
    PCI,
    PORT_NAME,
    SSH_KEY,
    TRANSPORT_PORT,
    URL,
    VERSION,
    VLAN,
    VNI,
    Boolean,
    Duration,
    ListOf,
    Number,
    Table,
    Tables,
    Text,
    Word,
)


@dataclass(frozen=True)
class _ManagerType:
    name: str = "one of " + ", ".join(f'"{manager}"' for manager in Manager)

    def read(self, value: Any, place: Place) -> Manager:
        return Manager(Word(tuple(Manager)).read(value, place))

    def write(self, value: Manager) -> str:
        return str(value)


CPUS = Section(
    title="CPU topology",
    build=Cpus,
    doc="The guest has sockets x cores x threads CPUs.",
    keys=(
        Key(name="sockets", type=Number(1, 64), default=1, doc="Sockets."),
        Key(name="cores", type=Number(1, 256), default=1, doc="Cores of each socket."),
        Key(name="threads", type=Number(1, 8), default=1, doc="Threads of each core."),
    ),
)


@dataclass(frozen=True)
class _CpusType:
    """A number of cores in one socket, or a table."""

    name: str = "number of CPUs, or a table of sockets, cores, threads"

    def read(self, value: Any, place: Place) -> Cpus:
        if isinstance(value, Mapping):
            cpus: Cpus = read_section(CPUS, value, place)
            return cpus
        if not isinstance(value, int) or isinstance(value, bool):
            raise place.error(f"{shown(value)} is not a number of CPUs", "write e.g. cpus = 2")
        return Cpus(cores=Number(1, 256).read(value, place))

    def write(self, value: Cpus) -> Any:
        return value.cores if value.sockets == value.threads == 1 else write_section(CPUS, value)


@dataclass(frozen=True)
class _SourceType:
    """A further source of frames: a prefix, or a table with a MAC address too."""

    name: str = "prefix, or { mac, prefix }"

    def read(self, value: Any, place: Place) -> tuple[str | None, str]:
        if isinstance(value, Mapping):
            pair: tuple[str | None, str] = read_section(SOURCE, value, place)
            return pair
        return None, Prefix().read(value, place)

    def write(self, value: tuple[str | None, str]) -> Any:
        return value[1] if value[0] is None else {"mac": value[0], "prefix": value[1]}


SOURCE = Section(
    title="Source",
    build=lambda mac, prefix: (mac, prefix),
    keys=(
        Key(name="mac", type=MAC, default=None, doc="The source's MAC address; left out: the port's own."),
        Key(name="prefix", type=Prefix(), doc="The source's addresses.", example='"10.8.0.0/24"'),
    ),
)


@dataclass(frozen=True)
class TablePairs:
    """A list of tables with two keys, kept as pairs of texts."""

    first: Key
    second: Key
    name: str = "tables"

    @property
    def section(self) -> Section:
        keys = (self.first, self.second)
        return Section(title="", build=lambda **fields: tuple(fields[key.field] for key in keys), keys=keys)

    def read(self, value: Any, place: Place) -> Any:
        return Tables(self.section).read(value, place)

    def write(self, value: Any) -> Any:
        return [{self.first.name: first, self.second.name: second} for first, second in value]


_SLOT = Key(name="slot", type=Number(0, 1023), default=None, default_text="a free one, which it keeps",
    doc="Where the device sits in the guest; of no other device of it.")  # fmt: skip
DISK = Section(
    title="Disk",
    build=Disk,
    doc="The first disk is the one that the guest boots from. Devices keep their place when others come or go.",
    keys=(
        Key(name="name", type=NAME, doc="The disk's name within the guest.", default_text="disk0, disk1, ..."),
        Key(
            name="size", type=DISK_SIZE, default=None, example='"20G"', default_text="its image's size",
            doc="Size; a disk grows when this does, and never shrinks.",
        ),
        Key(name="image", type=IMAGE_REFERENCE, default=None, example='"debian"', default_text="none: a blank disk",
            doc="The image that it is made from, as NAME or NAME:VERSION."),
        Key(name="edition", type=Word(("thin", "full")), default="thin",
            doc="thin: sparse, a linked clone of its image. full: all its space reserved, a copy of its own."),
        Key(name="format", type=Word(DISK_FORMATS), default=None, default_text="what the host's storage uses",
            doc="How the disk is kept."),
        Key(name="model", type=Word(DISK_MODELS), default=None, default_text="by profile",
            doc="The device that the guest sees."),
        Key(name="discard", type=Boolean(), default=True, doc="Whether space that the guest frees is given back."),
        _SLOT,
    ),
)  # fmt: skip
NIC = Section(
    title="Network card",
    build=Nic,
    keys=(
        Key(name="port", type=PORT_NAME, doc="The port that it is connected to."),
        Key(name="model", type=Word(NIC_MODELS), default=None, default_text="by profile",
            doc="The device that the guest sees."),
        _SLOT,
    ),
)  # fmt: skip
MEDIA = Section(
    title="Installation medium",
    build=Media,
    keys=(
        Key(name="image", type=IMAGE_REFERENCE, doc="An image of format iso.", example='"openbsd-install:7.6"'),
        Key(name="until-reboot", type=Boolean(), default=True,
            doc="Whether it is detached when the guest reboots for the first time, as installers do."),
        _SLOT,
    ),
)  # fmt: skip
_CLOUD_INIT_KEYS = (
    Key(name="hostname", type=NAME, default=None, default_text="the guest's name", doc="The guest's host name."),
    Key(name="user", type=NAME, default=None, default_text="the image's own",
        doc="A user to make, who may become root."),
    Key(name="ssh-keys", type=ListOf(SSH_KEY), default=(), doc="Public keys that may log in.",
        example='["ssh-ed25519 AAAA... anna"]'),
    Key(name="commands", type=ListOf(Text(lines=True, most=8192), unique=False), default=(),
        doc="Commands that the guest runs as root at its first boot.", example='["sysctl -w net.ipv4.ip_forward=1"]'),
    Key(name="user-data", type=Text(lines=True, most=256 << 10), default=None,
        doc="Used as it stands, instead of what the keys above say."),
    Key(name="network-config", type=Text(lines=True, most=256 << 10), default=None,
        default_text="made from the guest's ports", doc="Network configuration (version 2), used as it stands."),
)  # fmt: skip
CLOUD_INIT = Section(
    title="cloud-init",
    build=CloudInit,
    doc="Written to a small CD (NoCloud) that the guest reads when it boots. Without this table there is no CD.",
    keys=_CLOUD_INIT_KEYS,
)
GATE = Section(
    title="Health gate",
    build=Gate,
    doc="When a started guest counts as healthy. Guests that come after it wait for this.",
    keys=(
        Key(name="kind", type=Word(("serial", "ping", "tcp", "agent")), example='"serial"',
            doc="serial: a text on its serial line. ping, tcp: it answers. agent: the guest agent answers."),
        Key(name="text", type=Text(), default="", doc="serial: the text.", example='"login:"'),
        Key(name="port", type=TRANSPORT_PORT, default=0, default_text="none", doc="tcp: the port.", example="22"),
        Key(name="address", type=Address(), default=None, default_text="the first address of its first port",
            doc="ping, tcp: the address."),
        Key(name="timeout", type=Duration(1), default=300, doc="How long to wait before it counts as failed."),
    ),
)  # fmt: skip
BOOT = Section(
    title="Boot order",
    build=Boot,
    doc="Guests start in parallel as far as this allows, and stop in reverse.",
    keys=(
        Key(name="order", type=Number(0, 10_000), default=100, doc="Lower numbers start earlier."),
        Key(name="after", type=ListOf(NAME, one=True), default=(), doc="Guests that must be healthy first.",
            example='["gateway"]'),
        Key(name="delay", type=Duration(), default=0, doc="To be waited after it is healthy."),
        Key(name="gate", type=Table(GATE), default=None, default_text="none: healthy once started",
            doc="When it counts as healthy.", example='{ kind = "tcp", port = 22 }'),
        Key(name="shutdown-timeout", type=Duration(), default=60,
            doc="How long an orderly shutdown may take before the guest is ended."),
    ),
)  # fmt: skip

GUEST_KEYS = (
    Key(name="description", type=Text(), default="", doc="For people."),
    Key(name="profile", type=Word(tuple(PROFILES)), default="linux",
        doc="The operating system; chooses what is left out below (disk and network card models, clock)."),
    Key(name="power", type=Word(("on", "off")), default="on", doc="What the guest should be now."),
    Key(name="autostart", type=Boolean(), default=True, doc='Whether power = "on" holds after the host\'s boot.'),
    Key(name="cpus", type=_CpusType(), default=Cpus(), default_text="1", example="2",
        doc="A number of cores, or a table of sockets, cores and threads."),
    Key(name="memory", type=MEMORY, default=512 << 20, doc="Memory.", example='"2G"'),
    Key(name="screen", type=Boolean(), default=True, doc="Whether it has a screen (VNC)."),
    Key(name="agent", type=Boolean(), default=True, doc="Whether it has a channel for the guest agent."),
    Key(name="tpm", type=Boolean(), default=False, doc="Whether it has a TPM."),
    Key(name="secure-boot", type=Boolean(), default=False, doc="Whether UEFI starts signed systems only."),
    Key(name="local-clock", type=Boolean(), default=None, default_text="by profile",
        doc="Whether the hardware clock shows local time instead of UTC."),
    Key(name="passthrough", type=ListOf(PCI), default=(), doc="PCI devices of the host given to the guest.",
        example='["0000:03:00.0"]'),
    Key(name="boot", type=Table(BOOT), default=Boot(), default_text="see there", doc="Order, delay and health gate."),
    Key(name="cloud-init", type=Table(CLOUD_INIT), default=None, default_text="none", doc="What the guest is told."),
    Key(name="disk", attribute="disks", type=Tables(DISK), default=(), default_text="none", doc="Its disks, in order."),
    Key(name="nic", attribute="nics", type=Tables(NIC), default=(), default_text="none",
        doc="Its network cards, in order."),
    Key(name="media", type=Tables(MEDIA), default=(), default_text="none", doc="Installation media."),
)  # fmt: skip
PORT_KEYS = (
    Key(name="network", type=NAME, doc="The network.", example='"lan"'),
    Key(name="mac", type=MAC, default=None, default_text="derived from the port's name, always the same",
        doc="MAC address."),
    Key(name="addresses", type=ListOf(Address(), one=True), default=(), example='"10.78.0.10"',
        doc="Static addresses: served by DHCP and cloud-init; the guard lets the guest use no others."),
    Key(name="filters", type=ListOf(NAME, one=True), default=(), default_text="none: everything passes",
        doc="What may pass; several filters add up.", example='["admin"]'),
    Key(name="sources", attribute="pairs", type=ListOf(_SourceType()), default=(), example='["10.8.0.0/24"]',
        doc="Further sources that the guard accepts from the guest: what a guest that forwards, forwards for."),
    Key(name="guard", type=Boolean(), default=True,
        doc="Whether frames with a foreign MAC or source address, router advertisements and DHCP answers of the guest "
            "are dropped."),
    Key(name="vlans", type=ListOf(VLAN), default=(), doc="Tagged VLANs let into the guest."),
)  # fmt: skip
_SUBNET_KEYS = (
    Key(name="prefix", type=Prefix(), doc="The addresses of the subnet.", example='"10.78.0.0/24"'),
    Key(name="own", type=Address(), default=None, doc="The network's own address: DHCP and DNS server, nat's gateway."),
    Key(name="gateway", type=Address(), default=None, doc="The default gateway that guests are told; may be a guest."),
    Key(name="dhcp", type=Boolean(), default=True, doc="Whether addresses are served."),
    Key(name="first", type=Address(), default=None, default_text="none: static addresses only",
        doc="First dynamic address."),
    Key(name="last", type=Address(), default=None, doc="Last dynamic address."),
    Key(name="dns", type=ListOf(Address()), default=(), default_text="the network's own",
        doc="DNS servers that guests are told."),
    Key(name="advertise", type=Word(("", "slaac", "stateless", "stateful")), default="", default_text="none",
        doc="Router advertisements: slaac, stateless (SLAAC, and DHCPv6 for DNS) or stateful (DHCPv6)."),
)  # fmt: skip
SUBNET = Section(title="Subnet", build=Subnet, keys=_SUBNET_KEYS)
NETWORK_KEYS = (
    Key(name="kind", type=Word(NETWORK_KINDS), default="isolated",
        doc="isolated: guests among themselves. nat: with a way out through the host. flat: on an uplink. vlan: on a "
            "VLAN of an uplink. vxlan: over IP to other hosts."),
    Key(name="subnet", attribute="subnets", type=Tables(SUBNET), default=(), default_text="none",
        doc="Address ranges."),
    Key(name="domain", type=DOMAIN, default="skep.internal", doc="The DNS domain of its guests."),
    Key(name="forwarders", type=ListOf(Address()), default=(), default_text="the host's",
        doc="DNS servers that the network's own asks."),
    Key(name="mtu", type=MTU, default=1500, doc="Largest packet in bytes."),
    Key(name="uplink", type=INTERFACE, default=None, doc="flat, vlan: the host's interface.", example='"igb0"'),
    Key(name="vlan", type=VLAN, default=None, doc="vlan: the VLAN.", example="12"),
    Key(name="vni", type=VNI, default=None, doc="vxlan: the network identifier.", example="5001"),
    Key(name="local", type=Address(), default=None, doc="vxlan: the host's address that it speaks from."),
    Key(name="remotes", type=ListOf(Address()), default=(), doc="vxlan: the other hosts."),
    Key(name="host-address", type=InterfaceAddress(), default=None, default_text="none: the host is not in it",
        doc="An address of the host itself in this network.", example='"10.78.0.254/24"'),
)  # fmt: skip
FILTER_KEYS = (
    Key(name="description", type=Text(), default="", doc="For people."),
    Key(name="rules", type=Rules(), default=(), example='["in tcp 22", "in ping", "out any"]',
        doc="What may pass, seen from the guest; nothing else does. Answers always may."),
)  # fmt: skip
LEG = Section(
    title="Leg",
    build=Leg,
    keys=(
        Key(name="network", type=NAME, doc="The network.", example='"lan"'),
        Key(name="addresses", type=ListOf(InterfaceAddress(), one=True), example='"10.78.0.1/24"',
            doc="The router's addresses there."),
        Key(name="snat", type=Boolean(), default=False, doc="Whether what leaves here gets the leg's address."),
    ),
)  # fmt: skip
FORWARD = Section(
    title="Port forward",
    build=Forward,
    keys=(
        Key(name="protocol", type=Word(("tcp", "udp")), doc="Protocol.", example='"tcp"'),
        Key(name="outside", type=Address(), doc="The router's address outside."),
        Key(name="outside-port", type=TRANSPORT_PORT, doc="The port there.", example="443"),
        Key(name="inside", type=Address(), doc="The guest's address."),
        Key(name="inside-port", type=TRANSPORT_PORT, doc="The port there.", example="443"),
    ),
)
_ROUTES = TablePairs(
    Key(name="prefix", type=Prefix(), doc="Where to.", example='"10.9.0.0/16"'),
    Key(name="via", type=Address(), doc="The next router.", example='"10.78.0.2"'),
)
_FLOATING = TablePairs(
    Key(name="outside", type=Address(), doc="The address outside.", example='"203.0.113.10"'),
    Key(name="inside", type=Address(), doc="The guest's address.", example='"10.78.0.10"'),
)
ROUTER_KEYS = (
    Key(name="leg", attribute="legs", type=Tables(LEG), default=(), default_text="none", doc="A leg in each network."),
    Key(name="route", attribute="routes", type=_ROUTES, default=(), default_text="none", doc="Static routes."),
    Key(name="floating", type=_FLOATING, default=(), default_text="none",
        doc="Addresses outside that stand for one guest each (one-to-one NAT)."),
    Key(name="forward", attribute="forwards", type=Tables(FORWARD), default=(), default_text="none",
        doc="Ports outside that lead to a guest."),
)  # fmt: skip
IMAGE_KEYS = (
    Key(name="version", type=VERSION, doc="The version to have.", example='"1"'),
    Key(name="sources", type=ListOf(URL, one=True), default=(), example='"https://images.example.org/"',
        doc="Folders of published images, asked in this order."),
)  # fmt: skip

_NAME = Key(name="name", type=NAME, doc="The object's name.")
_PORT_NAME = Key(name="name", type=PORT_NAME, doc="The port's name.")
_GUEST = Key(name="guest", type=NAME, default=None, doc="The guest that uses it.")
_MANAGER = Key(name="manager", type=_ManagerType(), default=Manager.SITE, doc="Who may change and remove it.")


def _definition(build: Any, *keys: Key) -> Section:
    return Section(title=build.__name__, build=build, keys=keys)


DEFINITIONS: Mapping[Kind, Section] = MappingProxyType(
    {
        Kind.IMAGE: _definition(Image, _NAME, _MANAGER, *IMAGE_KEYS),
        Kind.FILTER: _definition(Filter, _NAME, _MANAGER, *FILTER_KEYS),
        Kind.NETWORK: _definition(Network, _NAME, _MANAGER, *NETWORK_KEYS),
        Kind.ROUTER: _definition(Router, _NAME, _MANAGER, *ROUTER_KEYS),
        Kind.PORT: _definition(Port, _PORT_NAME, _MANAGER, _GUEST, *PORT_KEYS),
        Kind.GUEST: _definition(Guest, _NAME, _MANAGER, *GUEST_KEYS),
    }
)
