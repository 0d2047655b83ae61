"""Checks of definitions against what the host has."""

from __future__ import annotations

from collections.abc import Mapping

from .desired import Desired
from .errors import nearest
from .facts import HostFacts
from .faults import Faults, fault
from .names import Kind
from .objects import Guest, Network, Port
from .types import MEMORY


def check_host(desired: Desired, facts: HostFacts) -> Faults:
    """Memory, CPUs, devices, uplinks and facilities that the host lacks."""
    for guest in desired.guests.values():
        yield from _guest(guest, facts)
    for network in desired.networks.values():
        yield from _network(network, facts)
    for port in desired.ports.values():
        yield from _port(port, facts)


def _missing(facts: HostFacts, facility: str) -> str:
    reason = facts.missing.get(facility)
    return "" if reason is None else f"this host cannot do it: {reason or facility}"


def _guest(guest: Guest, facts: HostFacts) -> Faults:
    def wrong(key: str, problem: str, hint: str) -> Faults:
        yield fault(Kind.GUEST, guest.name, (key,), problem, hint)

    if guest.memory > facts.memory:
        has = MEMORY.write(facts.memory >> 20 << 20)
        yield from wrong("memory", f"{MEMORY.write(guest.memory)} are more than the host has", f'write at most "{has}"')
    if guest.cpus.total > facts.cpus:
        yield from wrong("cpus", f"{guest.cpus.total} CPUs are more than the host has", f"write at most {facts.cpus}")
    if guest.passthrough and _missing(facts, "passthrough"):
        yield from wrong("passthrough", _missing(facts, "passthrough"), "leave it out")
    for number, device in enumerate(guest.passthrough):
        if device not in facts.pci_devices:
            problem = f"the host has no device {device} to give away"
            hint = nearest(device, facts.pci_devices, "device that may be given away")
            yield fault(Kind.GUEST, guest.name, ("passthrough", number), problem, hint)
    if guest.tpm and _missing(facts, "swtpm"):
        yield from wrong("tpm", _missing(facts, "swtpm"), "write tpm = false")
    yield from _disk_formats(guest, facts)


def _disk_formats(guest: Guest, facts: HostFacts) -> Faults:
    for number, disk in enumerate(guest.disks):
        kind, hint = ("zfs", 'write format = "qcow2"') if disk.format == "zvol" else ("files", "leave it out")
        if disk.format is not None and _missing(facts, kind):
            yield fault(Kind.GUEST, guest.name, ("disk", number, "format"), _missing(facts, kind), hint)


def _network(network: Network, facts: HostFacts) -> Faults:
    if network.kind in facts.missing:
        yield fault(Kind.NETWORK, network.name, ("kind",), _missing(facts, network.kind), "write another kind")
    if _missing(facts, "dnsmasq") and any(subnet.own for subnet in network.subnets):
        problem, hint = _missing(facts, "dnsmasq"), 'install it, or write own = "none" and dhcp = false in each subnet'
        yield fault(Kind.NETWORK, network.name, ("subnet",), problem, hint)
    if network.uplink is not None and network.uplink not in facts.uplinks:
        problem = f'the host has no uplink "{network.uplink}"'
        hint = nearest(network.uplink, facts.uplinks) or "add it to uplinks in the helper's policy"
        yield fault(Kind.NETWORK, network.name, ("uplink",), problem, hint)


def _port(port: Port, facts: HostFacts) -> Faults:
    if port.vlans and _missing(facts, "bridge-vlan-filtering"):
        yield fault(Kind.PORT, port.name, ("vlans",), _missing(facts, "bridge-vlan-filtering"), "leave it out")


def check_image_sizes(desired: Desired, sizes: Mapping[str, int]) -> Faults:
    """Disks smaller than their image. sizes: virtual sizes in bytes by NAME:VERSION; unknown ones are not checked."""
    for guest in desired.guests.values():
        for number, disk in enumerate(guest.disks):
            if disk.image is None or disk.size is None:
                continue
            name, _, version = disk.image.partition(":")
            definition = desired.images.get(name)
            version = version or (definition.version if definition else "")
            least = sizes.get(f"{name}:{version}", 0)
            if disk.size < least:
                # Rounded up to whole MiB, so that what the hint says is enough.
                hint = f'write size = "{MEMORY.write(-(-least >> 20) << 20)}" or more, or leave it out'
                problem = f"disk {disk.name} is smaller than its image {name}:{version} ({least} bytes)"
                yield fault(Kind.GUEST, guest.name, ("disk", number, "size"), problem, hint)
