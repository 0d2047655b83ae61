"""All of a vm-bhyve installation together: which guests can be taken over, and on which networks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from skep_helper.vocabulary import VmBhyveReading

from skepd.model.desired import Desired
from skepd.model.errors import nearest
from skepd.model.objects import Network

from .conf import Conf, read
from .findings import Finding, sorted_findings
from .guests import Choices, Converted, convert
from .networks import convert_switch, slug

RC_CONF = "/etc/rc.conf"


@dataclass(frozen=True, kw_only=True)
class Adoption:
    """networks: those to be made. already: names in Skep by names in vm-bhyve of guests that were taken over before.
    unknown: (name, hint) that were asked for and are not there."""

    guests: tuple[Converted, ...] = ()
    networks: tuple[Network, ...] = ()
    already: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[tuple[str, str], ...] = ()

    @property
    def possible(self) -> tuple[Converted, ...]:
        return tuple(found for found in self.guests if found.guest is not None)


def examine(
    reading: VmBhyveReading, desired: Desired, adopted: Mapping[str, str], names: Iterable[str], choices: Choices
) -> Adoption:
    """adopted: guest of Skep by the dataset that one of its disks was. names: in vm-bhyve; none: all."""
    choices = replace(choices, autostart=reading.autostart)
    here = {guest.name: guest for guest in reading.guests}
    already = {
        name: owner
        for name, guest in here.items()
        for dataset, owner in adopted.items()
        if guest.dataset and dataset.startswith(f"{guest.dataset}/")
    }
    wanted = list(dict.fromkeys(names)) or [name for name in here if name not in already]
    unknown = tuple((name, nearest(name, here, "guest")) for name in wanted if name not in here)
    system = read(reading.system, reading.system_file)
    converted = [convert(here[name], choices) for name in wanted if name in here and name not in already]
    networks: dict[str, Network] = {}
    checked = [_on_networks(found, desired, system, choices, networks) for found in _distinct(converted, desired)]
    used = {port.network for found in checked if found.guest is not None for port in found.ports}
    return Adoption(
        guests=tuple(_listed(found, reading.autostart) for found in checked),
        networks=tuple(network for name, network in networks.items() if name in used),
        already={name: owner for name, owner in already.items() if name in wanted or not names},
        unknown=unknown,
    )  # fmt: skip


def _refused(found: Converted, *findings: Finding) -> Converted:
    together = sorted_findings((*found.findings, *findings))
    refuses = any(item.refuses for item in together)
    return replace(found, guest=None if refuses else found.guest, findings=together)


def _distinct(converted: list[Converted], desired: Desired) -> Iterable[Converted]:
    """Names that somebody has already are refused."""
    users: dict[str, str] = {}
    for found in converted:
        other = users.setdefault(found.name, found.source)
        if found.name in desired.guests:
            text = f"there is a guest {found.name} in Skep already: rename one of them (vm rename {found.source} NAME)"
            yield _refused(found, Finding(found.source, text, refuses=True))
        elif other != found.source:
            text = f"{other} would be called {found.name} in Skep too: rename one of them (vm rename)"
            yield _refused(found, Finding(found.source, text, refuses=True))
        else:
            yield found


def _on_networks(
    found: Converted, desired: Desired, system: Conf, choices: Choices, networks: dict[str, Network]
) -> Converted:
    """Adds to `networks` what the guest's cards need and Skep has not."""
    findings = [
        Finding(found.source, f"there is no network {name} in Skep: {nearest(name, desired.networks)}", refuses=True)
        for name in dict.fromkeys(port.network for port in found.ports)
        if name in choices.networks.values() and name not in desired.networks
    ]
    for switch in found.switches:
        name = slug(switch)
        if name in desired.networks:
            text = f"its cards on switch {switch} join the network {name} that Skep has already"
            findings.append(Finding(found.source, text))
            continue
        network, said = convert_switch(switch, system)
        findings += said
        if network is not None:
            networks[name] = network
    return _refused(found, *findings)


def _listed(found: Converted, autostart: tuple[str, ...]) -> Converted:
    if found.guest is None or found.source not in autostart:
        return found
    text = f"vm-bhyve would still start {found.source} when the host boots: sysrc vm_list-={found.source}"
    return replace(found, findings=(*found.findings, Finding(RC_CONF, text)))
