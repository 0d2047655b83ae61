"""What a FreeBSD machine needs before Skep can run a site on it. Pure: from the site and from what the machine has.

rc.conf(5), loader.conf(5), sysctl.conf(5) and devfs.rules(5) stay the administrator's; these are the lines for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from skepd.model.site import Site, Uplink
from skepd.plan.needs import COMMAND, MISSING, Need

from . import addresses
from .machine import Machine
from .wants import RC, Allowed, Command, Interface, Ruleset, Setting, Words, loader, merged, sysctl

OFFLOAD = ("txcsum", "tso4", "tso6", "lro")
"""What is switched off on an uplink that says nothing: between bridge members it corrupts or splits frames, and a VLAN
that joins a bridge does not switch it off on its parent by itself."""
MODULES = (
    "vmm", "nmdm", "if_bridge", "if_epair", "if_tuntap", "if_vlan", "if_vxlan", "pf", "ng_socket", "ng_ether",
    "ng_vlan", "ng_bpf",
)  # fmt: skip
HASHES = {
    "net.pf.states_hashsize": "1024",
    "net.pf.source_nodes_hashsize": "256",
    "net.inet.tcp.tcbhashsize": "512",
    "net.inet.tcp.syncache.hashsize": "32",
    "net.inet.tcp.hostcache.hashsize": "32",
    "net.inet.tcp.fastopen.ccache_buckets": "16",
}
"""Every network has a stack of its own with these tables: 13 MB each as they are by default, 1 MB with these sizes.
As measured on 13.2 with 200 networks."""
TAPS = {
    "net.link.tap.up_on_open": ("1", "or what a guest sends after its reboot vanishes without an error"),
    "net.link.tap.devfs_cloning": ("0", "or whoever looks at a name below /dev/tap makes an interface"),
}
_AMD_IOMMU = "hw.vmm.amdvi.enable"
_INIT = "kern.init_shutdown_timeout"
_SERVICES_STOP = 60
SYSCTLS = (*HASHES, *TAPS, _AMD_IOMMU, _INIT)
PROGRAMS = {
    "dnsmasq": ("/usr/local/sbin/dnsmasq",),
    "edk2-bhyve": (
        "/usr/local/share/edk2-bhyve/BHYVE_UEFI_CODE.fd",
        "/usr/local/share/uefi-firmware/BHYVE_UEFI_CODE.fd",
    ),
    "smartmontools": ("/usr/local/sbin/smartctl",),
}
"""Packages, and the files that tell that they are there: any of them."""
FILES = tuple(path for paths in PROGRAMS.values() for path in paths)
SERVICES = ("skep_helper", "skepd", "skep_gateway")
POOL = "/var/db/skep/pool"
BY_HAND = (
    "[skep_bhyve=19999]",
    "add hide",
    *(f"add path {name} unhide" for name in ("null", "zero", "random", "urandom", "vmm", "vmm.io", "vmmctl")),
)
_BY_HAND_REASON = "for a guest that is started by hand in a jail, when Skep is not there"
GUESTS_RULESETS = range(20_000, 30_000)
_ENVIRONMENT = 127
"""Characters that a loader variable holds."""


def needs(site: Site, machine: Machine | None) -> tuple[Need, ...]:
    """machine None: nobody looked, as on an administrator's laptop; all states are then empty."""
    return tuple(_all(site, machine))


def _all(site: Site, machine: Machine | None) -> Iterator[Need]:
    by_hand = Ruleset(19_999, "skep_bhyve", "\n".join(BY_HAND), _BY_HAND_REASON, GUESTS_RULESETS)
    files = (*merged(_rc(site)), *_loader(site), *_sysctl(site), by_hand, *_policy(site))
    for want in (*files, *_packages(), *_accounts(), *_storage(site)):
        yield want.need(machine)
    if machine is not None:
        yield from _absent_uplinks(site.host_part.uplinks.values(), machine)


def _rc(site: Site) -> Iterator[Setting | Words | Interface]:
    part = site.host_part
    yield Setting(RC, "hostname", part.host.name, "the site's name for this host", same=addresses.same_host)
    if part.storage.backend == "zfs":
        yield Setting(RC, "zfs_enable", "YES", "pools are imported and mounted at boot")
    yield Words(RC, "kld_list", MODULES, "a jail can load no module, so all are loaded at boot", modules=True)
    for uplink in part.uplinks.values():
        yield _uplink(uplink)
        vlans = tuple(vlan for vlan in part.vlans.values() if vlan.uplink == uplink.name)
        if vlans:
            names = tuple(vlan.name for vlan in vlans)
            reason = f"VLANs of the host itself on {uplink.name}; those of networks are made by Skep"
            yield Words(RC, f"vlans_{addresses.variable(uplink.name)}", names, reason)
        for vlan in vlans:
            name = f"create_args_{addresses.variable(vlan.name)}"
            yield Setting(RC, name, f"vlan {vlan.vlan}", f"the tag of {vlan.name}")
    yield from addresses.lines(part)
    yield Setting(
        RC, "rcshutdown_timeout", _shutdown(site), "guests stop in order at shutdown", same=addresses.at_least
    )
    for service in SERVICES:
        yield Setting(RC, f"{service}_enable", "YES", f"{service.replace('_', '-')} starts at boot")


def _uplink(uplink: Uplink) -> Interface:
    options = ["up", *(f"-{flag}" for flag in uplink.offload_off or OFFLOAD)]
    if uplink.mtu:
        options.append(f"mtu {uplink.mtu}")
    reason = "an uplink of networks, without what its hardware would do to frames that are bridged"
    return Interface(f"ifconfig_{addresses.variable(uplink.name)}", tuple(options), reason)


def _loader(site: Site) -> Iterator[Setting | Words]:
    if site.host_part.storage.backend == "zfs":
        yield loader("zfs_load", "YES", "before anything is mounted")
    for name, value in HASHES.items():
        yield loader(name, value, "a network costs 1 MB of kernel memory instead of 13", kernel=name)
    devices = sorted({device for guest in site.desired.guests.values() for device in guest.passthrough})
    if devices:
        yield loader("vmm_load", "YES", "it must be there before other drivers take the devices of guests")
        yield from _lent(devices)
        yield loader(_AMD_IOMMU, "1", "pass-through on AMD; harmless elsewhere", kernel=_AMD_IOMMU)


def _lent(devices: list[str]) -> Iterator[Words]:
    """Devices for ppt(4), as BUS/SLOT/FUNCTION in decimal. One variable holds few of them, so there are three."""
    rows: list[list[str]] = [[]]
    for device in devices:
        _, bus, rest = device.split(":")
        slot, function = rest.split(".")
        word = f"{int(bus, 16)}/{int(slot, 16)}/{function}"
        if len(" ".join([*rows[-1], word])) > _ENVIRONMENT:
            rows.append([])
        rows[-1].append(word)
    for name, row in zip(("pptdevs", "pptdevs2", "pptdevs3"), rows, strict=False):
        yield Words("/boot/loader.conf", name, tuple(row), "devices that the site gives to guests", lent=True)


def _shutdown(site: Site) -> str:
    """Seconds that a shutdown may take: guests of one order stop together, those of different orders one after the
    other, and the services need theirs too."""
    longest: dict[int, int] = {}
    for guest in site.desired.guests.values():
        longest[guest.boot.order] = max(longest.get(guest.boot.order, 0), guest.boot.shutdown_timeout)
    return str(sum(longest.values()) + _SERVICES_STOP)


def _sysctl(site: Site) -> Iterator[Setting]:
    reason = "init(8) ends what takes longer at shutdown; rcshutdown_timeout alone is not enough"
    yield sysctl(_INIT, _shutdown(site), reason, same=addresses.at_least)
    for name, (value, reason) in TAPS.items():
        yield sysctl(name, value, reason)


def _policy(site: Site) -> Iterator[Allowed]:
    part = site.host_part
    reason = "what skep-helper may be asked for; it is read when it starts"
    if part.uplinks:
        yield Allowed("uplinks", tuple(part.uplinks), reason)
    devices = sorted({device for guest in site.desired.guests.values() for device in guest.passthrough})
    if devices:
        yield Allowed("passthrough", tuple(devices), reason)
    if part.host.forwarding:
        yield Allowed("forwarding", True, "IP forwarding while a nat network is up, off again afterwards")


def _packages() -> Iterator[Command]:
    reasons = {"dnsmasq": "DHCP and DNS of networks", "edk2-bhyve": "UEFI of guests", "smartmontools": "SMART of disks"}
    for package, paths in PROGRAMS.items():
        yield Command(f"pkg install -y {package}", reasons[package], partial(_has_file, frozenset(paths)))


def _has_file(paths: frozenset[str], machine: Machine) -> bool:
    return bool(machine.files & paths)


def _accounts() -> Iterator[Command]:
    for name, program in (("skep", "skepd"), ("skepgw", "skep-gateway")):
        line = f"pw useradd {name} -c {program} -d /nonexistent -s /usr/sbin/nologin"
        yield Command(line, f"whom {program} runs as; its package makes it", partial(_has_user, name))


def _has_user(name: str, machine: Machine) -> bool:
    return name in machine.users and name in machine.groups


def _storage(site: Site) -> Iterator[Command]:
    storage = site.host_part.storage
    if storage.backend != "zfs" or storage.pool is None:
        return
    pool, top = storage.pool, f"{storage.pool}/skep"
    vdevs = " ".join(f"mirror {' '.join(mirror)}" for mirror in storage.mirrors) or "DEVICE"
    options = "-O compression=lz4 -O atime=off -m none"
    yield Command(
        f"zpool create {options} {pool} {vdevs}",
        "the pool of the site; this destroys what is on these devices",
        lambda machine: pool in machine.pools,
    )
    yield Command(
        f"zfs create -o mountpoint={POOL} -o volmode=dev {top}",
        "where guests and images live; volmode is inherited by volumes, set at them it loses device nodes",
        lambda machine: machine.datasets.get(top, {}) == {"mountpoint": POOL, "volmode": "dev"},
        lambda machine: addresses.wrong_dataset(machine.datasets.get(top), POOL, top),
    )


def _absent_uplinks(uplinks: Iterable[Uplink], machine: Machine) -> Iterator[Need]:
    for uplink in uplinks:
        if uplink.name not in machine.interfaces:
            there = ", ".join(sorted(machine.interfaces)) or "none"
            reason = f"the site has an uplink {uplink.name}; this machine has {there}"
            yield Need(place=COMMAND, line=f"ifconfig {uplink.name}", reason=reason, state=MISSING)
