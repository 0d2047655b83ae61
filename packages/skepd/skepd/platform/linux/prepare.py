"""What a Linux machine needs for a site: packages and modules. `make up` sees to it on Debian. Pure, but for look()."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from skepd.model.site import Site
from skepd.plan.needs import COMMAND, MISSING, PRESENT, Need

MODULES_FILE = "/etc/modules-load.d/skep.conf"
PROGRAMS = {
    "qemu-system-x86": "qemu-system-x86_64",
    "qemu-utils": "qemu-img",
    "dnsmasq-base": "dnsmasq",
    "nftables": "nft",
    "iproute2": "ip",
    "conntrack": "conntrack",
}
FIRMWARE = "/usr/share/OVMF/OVMF_CODE_4M.fd"
MODULES = {"tun": "taps", "bridge": "networks", "veth": "networks", "nf_tables": "rules and guards"}
KINDS = {"vlan": ("8021q", "networks on VLANs"), "vxlan": ("vxlan", "networks over VXLAN")}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """modules: those that this kernel has, loaded or compiled in. modular: whether it can load any; one that cannot is
    tried by `skep doctor` alone. listed: names in MODULES_FILE."""

    programs: frozenset[str] = frozenset()
    firmware: bool = False
    modular: bool = True
    modules: frozenset[str] = frozenset()
    listed: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()


def needs(site: Site, machine: Machine | None) -> tuple[Need, ...]:
    return tuple(_all(site, machine))


def _all(site: Site, machine: Machine | None) -> Iterator[Need]:
    for package, program in PROGRAMS.items():
        yield _package(package, None if machine is None else program in machine.programs)
    yield _package("ovmf", None if machine is None else machine.firmware)
    for name, use in _modules(site).items() if machine is None or machine.modular else ():
        there = machine is not None and name in machine.modules | machine.listed
        state = "" if machine is None else PRESENT if there else MISSING
        yield Need(place=MODULES_FILE, line=name, reason=f"for {use}", state=state)
    for user in ("skep", "skepgw"):
        state = "" if machine is None else PRESENT if user in machine.users else MISSING
        line = f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {user}"
        yield Need(place=COMMAND, line=line, reason="whom Skep's daemons run as", state=state)


def _package(name: str, there: bool | None) -> Need:
    state = "" if there is None else PRESENT if there else MISSING
    return Need(place=COMMAND, line=f"apt-get install {name}", reason="`make up` does this on Debian", state=state)


def _modules(site: Site) -> Mapping[str, str]:
    kinds = {network.kind for network in site.desired.networks.values()}
    kinds |= {"vlan"} if site.host_part.vlans else set()
    return {**MODULES, **{name: use for kind, (name, use) in KINDS.items() if kind in kinds}}


def look(root: Path = Path("/")) -> Machine:
    """What this machine has, from files alone."""
    release = root / "proc/sys/kernel/osrelease"
    version = release.read_text().strip() if release.exists() else ""
    builtin = root / "lib/modules" / version / "modules.builtin"
    names = builtin.read_text().split() if builtin.exists() else []
    loaded = root / "sys/module"
    listed = root / MODULES_FILE.lstrip("/")
    users = (root / "etc/passwd").read_text().splitlines() if (root / "etc/passwd").exists() else []
    return Machine(
        programs=frozenset(name for name in PROGRAMS.values() if shutil.which(name, path=_PATH)),
        firmware=(root / FIRMWARE.lstrip("/")).exists(),
        modular=builtin.exists(),
        modules=frozenset(os.listdir(loaded) if loaded.is_dir() else ())
        | {name.rpartition("/")[2].removesuffix(".ko").replace("-", "_") for name in names},
        listed=frozenset(listed.read_text().split() if listed.exists() else ()),
        users=frozenset(line.split(":")[0] for line in users),
    )
