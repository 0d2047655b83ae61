"""The sections of site.toml: those of the host, and what is shorter there than in definitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from .addresses import Address, InterfaceAddress, Prefix
from .names import Kind
from .objects import CloudInit, Guest, Network, Port
from .schema import Collector, Key, Place, Section, read_section
from .sections import (
    CLOUD_INIT,
    DEFINITIONS,
    DISK,
    FILTER_KEYS,
    GUEST_KEYS,
    IMAGE_KEYS,
    NETWORK_KEYS,
    NIC,
    PORT_KEYS,
    ROUTER_KEYS,
    SUBNET,
)
from .site import HostSettings, HostVlan, Management, Replication, Retention, Schedule, Storage, Uplink, User
from .types import (
    INTERFACE,
    MTU,
    NAME,
    PORT_NAME,
    SSH_KEY,
    URL,
    VLAN,
    Boolean,
    ListOf,
    Number,
    Pattern,
    Size,
    Table,
    Tables,
    Text,
    Word,
)

DEVICE = Pattern("a device name", r"[A-Za-z][A-Za-z0-9/._-]{0,63}", 'write a name as the system shows it, e.g. "ada0"')
POOL = Pattern("a pool name", r"[A-Za-z][A-Za-z0-9_.-]{0,62}", 'write e.g. "tank"')
OFFLOAD = Pattern("an offload flag", r"[a-z][a-z0-9_]{0,31}", 'write a flag of ifconfig without "-", e.g. "txcsum"')
TIME_OF_DAY = Pattern("a time of day", r"([01][0-9]|2[0-3]):[0-5][0-9]", 'write e.g. "07:00" or "19:30"')
GUEST_OR_ALL = Pattern('a guest, or "*"', r"\*|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", 'write a guest\'s name, or "*"')
# A label of an interface name without room for a dot: it becomes the part after "GUEST.".
NIC_NAME = Pattern("a name of a network card", r"[a-z0-9][a-z0-9-]{0,30}", "write at most 31 of a-z, 0-9 and -")


@dataclass(frozen=True, kw_only=True)
class SiteNic:
    """A network card as written: connected to a port of its own (with these fields), or to the named one."""

    name: str
    model: str | None
    slot: int | None
    port: str | None
    own: Mapping[str, Any]

    @classmethod
    def build(cls, *, name: str, model: str | None, slot: int | None, port: str | None, **own: Any) -> SiteNic:
        return cls(name=name, model=model, slot=slot, port=port, own=own)

    def said_too_much(self) -> str:
        """A key that has no meaning beside `port`; empty when there is none."""
        defaults = {"network": None} | {key.field: key.default for key in PORT_KEYS if key.name != "network"}
        return next((key.name for key in PORT_KEYS if self.own[key.field] != defaults[key.field]), "")


@dataclass(frozen=True, kw_only=True)
class SiteSubnet:
    """A subnet as written, before its network's kind fills it in. own, gateway: "none" for none."""

    prefix: str
    own: str | None = None
    gateway: str | None = None
    dhcp: bool | None = None
    first: str | None = None
    last: str | None = None
    dns: tuple[str, ...] = ()
    advertise: str = ""


def _changed(keys: tuple[Key, ...], **changes: Mapping[str, Any]) -> tuple[Key, ...]:
    """These keys, some with other attributes; a change is named by the key with _ for -."""
    return tuple(replace(key, **changes.get(key.name.replace("-", "_"), {})) for key in keys)


SITE_SUBNET = Section(
    title="Subnet",
    build=SiteSubnet,
    keys=_changed(
        SUBNET.keys,
        own={"type": Address(none=True), "default_text": 'isolated, nat: the first host address; "none" for none'},
        gateway={"type": Address(none=True), "default_text": 'nat: the network\'s own; "none" for none'},
        dhcp={"default": None, "default_text": "isolated, nat: true; else false"},
    ),
)


@dataclass(frozen=True)
class SiteSubnets:
    """A prefix, a table, or a list of these."""

    name: str = "prefix, table, or a list of these"

    def read(self, value: Any, place: Place) -> tuple[SiteSubnet, ...]:
        if not isinstance(value, list):
            return (self._one(value, place),)
        collector = Collector()
        found = [collector.run(self._one, entry, place.at(number)) for number, entry in enumerate(value)]
        collector.finish()
        return tuple(found)

    def _one(self, value: Any, place: Place) -> SiteSubnet:
        if isinstance(value, Mapping):
            subnet: SiteSubnet = read_section(SITE_SUBNET, value, place)
            return subnet
        return SiteSubnet(prefix=Prefix().read(value, place))

    def write(self, value: tuple[SiteSubnet, ...]) -> Any:
        return Tables(SITE_SUBNET).write(value)


SITE_NIC = Section(
    title="Network card",
    build=SiteNic.build,
    doc="Connected to a network by a port of its own, GUEST.NAME, or to a port that is described elsewhere.",
    keys=(
        Key(name="name", type=NIC_NAME, doc="The card's name within the guest.", default_text="0, 1, ...",
            example='"lan"'),
        *NIC.keys[1:],
        Key(name="port", type=PORT_NAME, default=None, doc="An existing port; none of the keys below then."),
        *_changed(PORT_KEYS, network={"default": None, "default_text": "required without port"}),
    ),
)  # fmt: skip
GUEST_SECTION = Section(
    title="Guest",
    build=Guest,
    doc="A virtual machine.",
    keys=_changed(GUEST_KEYS, disk={"type": Tables(DISK, "disk")}, nic={"type": Tables(SITE_NIC, "")}),
)
NETWORK_SECTION = Section(
    title="Network",
    build=Network,
    doc="A network stack of its own: a bridge, its guests' ports, DHCP and DNS, and perhaps a way out.",
    keys=_changed(NETWORK_KEYS, subnet={"type": SiteSubnets(), "example": '["10.77.0.0/24", "fd00:77::/64"]'}),
)
DEFAULT_CLOUD_INIT = Section(
    title="Defaults for cloud-init",
    build=CloudInit,
    doc="For guests that have a cloud-init table, where it does not say otherwise.",
    keys=tuple(key for key in CLOUD_INIT.keys if key.name in ("user", "ssh-keys")),
)
DEFAULTS = Section(
    title="Defaults",
    build=lambda cloud_init: cloud_init,
    keys=(Key(name="cloud-init", type=Table(DEFAULT_CLOUD_INIT), default=CloudInit(), default_text="see there",
              doc="User and keys of every guest with cloud-init."),),
)  # fmt: skip

MANAGEMENT = Section(
    title="Management",
    build=Management,
    doc="The line that the administrator comes in by. A plan that touches it is rolled back unless it is confirmed.",
    keys=(
        Key(name="interface", type=INTERFACE, doc="An uplink or a VLAN of the host.", example='"vlan10"'),
        Key(name="address", type=InterfaceAddress(), default=None, doc="The host's address there.",
            example='"192.168.10.2/24"'),
        Key(name="gateway", type=Address(), default=None, doc="The host's default gateway."),
    ),
)  # fmt: skip
HOST = Section(
    title="Host",
    build=HostSettings,
    doc="The machine.",
    keys=(
        Key(name="name", type=NAME, doc="Its host name.", example='"branch-07"'),
        Key(name="platform", type=Word(("linux", "freebsd", "sim")), default=None, default_text="any",
            doc="The system that this site is for; another one refuses it."),
        Key(name="forwarding", type=Boolean(), default=False,
            doc="The administrator's leave to switch on the host's IP forwarding while a nat network needs it."),
        Key(name="management", type=Table(MANAGEMENT), default=None, default_text="none", doc="See there."),
    ),
)  # fmt: skip
STORAGE = Section(
    title="Storage",
    build=Storage,
    doc="Where guests and images are kept.",
    keys=(
        Key(name="backend", type=Word(("files", "zfs")), default="files",
            doc="files: qcow2 and raw files. zfs: a pool."),
        Key(name="pool", type=POOL, default=None, doc="zfs: the pool.", example='"tank"'),
        Key(name="mirrors", type=ListOf(ListOf(DEVICE)), default=(), doc="zfs: the devices of each mirror of the pool.",
            example='[["ada0", "ada1"]]'),
    ),
)  # fmt: skip
UPLINK = Section(
    title="Uplink",
    build=Uplink,
    doc="An interface of the host that networks may be put on. Networks of kind flat and vlan name one of these.",
    keys=(
        Key(name="description", type=Text(), default="", doc="For people."),
        Key(name="offload-off", type=ListOf(OFFLOAD), default=(), doc="Offload flags to be switched off.",
            example='["txcsum", "tso4", "tso6", "lro"]'),
        Key(name="trunk", type=ListOf(VLAN), default=(), doc="The VLANs that it carries.", default_text="any",
            example="[10, 11, 12]"),
        Key(name="mtu", type=MTU, default=None, default_text="as it is", doc="Largest packet in bytes."),
    ),
)  # fmt: skip
HOST_VLAN = Section(
    title="VLAN of the host",
    build=HostVlan,
    doc="A VLAN interface that the host itself has an address on. Networks of guests need none.",
    keys=(
        Key(name="uplink", type=INTERFACE, doc="The uplink.", example='"igb0"'),
        Key(name="vlan", type=VLAN, doc="The VLAN.", example="10"),
        Key(name="addresses", type=ListOf(InterfaceAddress(), one=True), default=(), default_text="none",
            doc="The host's addresses there, beside that of management."),
    ),
)  # fmt: skip
RETENTION = Section(
    title="Retention",
    build=Retention,
    doc="How many snapshots are kept; at least one of these must be given.",
    keys=tuple(
        Key(name=name, type=Number(0, 1000), default=0, doc=doc)
        for name, doc in (
            ("last", "The latest ones."),
            ("hourly", "The last of each hour, this many hours."),
            ("daily", "The last of each day, this many days."),
            ("weekly", "The last of each week, this many weeks."),
            ("monthly", "The last of each month, this many months."),
        )
    ),
)
_GUESTS = Key(name="guests", type=ListOf(GUEST_OR_ALL, one=True), doc='Guests; "*" for all.', example='["files"]')
SCHEDULE = Section(
    title="Schedule",
    build=Schedule,
    doc="Snapshots of guests at times of day.",
    keys=(
        _GUESTS,
        Key(name="times", type=ListOf(TIME_OF_DAY, one=True), doc="When, in the host's time.",
            example='["07:00", "19:00"]'),
        Key(name="keep", type=Table(RETENTION), doc="How many are kept.", example="{ daily = 14, monthly = 12 }"),
        Key(name="quiesce", type=Boolean(), default=True,
            doc="Whether file systems are frozen through the guest agent where there is one."),
    ),
)  # fmt: skip
REPLICATION = Section(
    title="Replication",
    build=Replication,
    doc="A schedule's snapshots sent to another host.",
    keys=(
        _GUESTS,
        Key(name="target", type=URL, doc="The other host's API.", example='"https://hq.example.org:8443/"'),
        Key(name="schedule", type=NAME, doc="The schedule whose snapshots are sent.", example='"twice-a-day"'),
        Key(name="bandwidth", type=Size(1 << 10, 1 << 40), default=None, default_text="no limit",
            doc="Most bytes for each second.", example='"10M"'),
    ),
)  # fmt: skip
USER = Section(
    title="User",
    build=User,
    doc="Who may use the API.",
    keys=(
        Key(name="role", type=Word(("admin", "operator", "viewer")), doc="What the user may do.", example='"operator"'),
        Key(name="full-name", type=Text(), default="", doc="For people."),
        Key(name="ssh-keys", type=ListOf(SSH_KEY), default=(), doc="Public keys."),
    ),
)

HOST_SECTIONS: Mapping[str, Section] = MappingProxyType({"host": HOST, "storage": STORAGE, "defaults": DEFAULTS})
"""Sections that stand once."""

NAMED_SECTIONS: Mapping[str, tuple[Section, Any]] = MappingProxyType(
    {
        "uplink": (UPLINK, INTERFACE),
        "vlan": (HOST_VLAN, INTERFACE),
        "image": (Section(title="Image", build=DEFINITIONS[Kind.IMAGE].build, keys=IMAGE_KEYS,
                          doc="An image that the host should have."), NAME),
        "filter": (Section(title="Filter", build=DEFINITIONS[Kind.FILTER].build, keys=FILTER_KEYS,
                           doc="A security group: what may pass the ports that name it."), NAME),
        "network": (NETWORK_SECTION, NAME),
        "router": (Section(title="Router", build=DEFINITIONS[Kind.ROUTER].build, keys=ROUTER_KEYS,
                           doc="A router with a leg in each of several networks."), NAME),
        "port": (Section(title="Port", build=Port, keys=(DEFINITIONS[Kind.PORT].keys[2], *PORT_KEYS),
                         doc="A connection to a network by itself; a nic names it."), PORT_NAME),
        "guest": (GUEST_SECTION, NAME),
        "schedule": (SCHEDULE, NAME),
        "replication": (REPLICATION, NAME),
        "user": (USER, NAME),
    }
)  # fmt: skip
"""Sections keyed by name: [guest.files]; with the type of the name."""
