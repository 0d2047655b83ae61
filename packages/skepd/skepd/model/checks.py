"""All checks of a host's desired state that need more than one key to see."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from .desired import Desired
from .errors import DefinitionError, nearest
from .facts import HostFacts
from .faults import Faults, fault
from .guest_checks import check_boot_order, check_guest
from .host_checks import check_host, check_image_sizes
from .names import Kind
from .network_checks import check_network, check_wires, is_host_address
from .objects import Guest
from .port_checks import check_ports
from .router_checks import check_routers


def check(
    desired: Desired, facts: HostFacts | None = None, image_sizes: Mapping[str, int] | None = None
) -> list[DefinitionError]:
    """Everything that is wrong with these definitions together, always in the same order.

    Every field must have been read or validated by itself (parse_object, object_from_data, validate). facts: what the
    host has; None: not checked. image_sizes: virtual sizes in bytes by NAME:VERSION, of the images that are known.
    Errors have no file; their path begins with kind and name (see Site.locate).
    """
    return list(_all(desired, facts, image_sizes or {}))


def _all(desired: Desired, facts: HostFacts | None, image_sizes: Mapping[str, int]) -> Iterator[DefinitionError]:
    yield from chain.from_iterable(check_guest(guest) for guest in desired.guests.values())
    yield from chain.from_iterable(check_network(network) for network in desired.networks.values())
    yield from check_wires(desired.networks.values())
    yield from _images(desired, image_sizes)
    yield from _passthrough(desired)
    yield from check_ports(desired)
    yield from check_routers(desired)
    yield from check_boot_order(desired.guests)
    yield from _gate_addresses(desired)
    yield from check_image_sizes(desired, image_sizes)
    if facts is not None:
        yield from check_host(desired, facts)


def _images(desired: Desired, image_sizes: Mapping[str, int]) -> Faults:
    """Images that nothing describes and that are not on the host."""
    known = {*desired.images, *image_sizes, *(reference.partition(":")[0] for reference in image_sizes)}
    for guest in desired.guests.values():
        disks = [(("disk", number, "image"), disk.image) for number, disk in enumerate(guest.disks) if disk.image]
        media = [(("media", number, "image"), medium.image) for number, medium in enumerate(guest.media)]
        for path, image in [*disks, *media]:
            name = image.partition(":")[0]
            if name not in known:
                hint = nearest(name, sorted(desired.images), "image")
                yield fault(Kind.GUEST, guest.name, path, f'there is no image "{name}"', hint)


def _passthrough(desired: Desired) -> Faults:
    users: dict[str, str] = {}
    for guest in desired.guests.values():
        for number, device in enumerate(guest.passthrough):
            user = users.setdefault(device, guest.name)
            if user != guest.name:
                problem = f"the device {device} is that of guest {user} already"
                yield fault(Kind.GUEST, guest.name, ("passthrough", number), problem, "write another device")


def gate_target(guest: Guest, desired: Desired) -> tuple[str, str] | None:
    """(network, address) that a ping or tcp gate asks: from the network's own stack, so that it must have an address
    there. None: there is no such pair."""
    gate = guest.boot.gate
    ports = [desired.ports[nic.port] for nic in guest.nics if nic.port in desired.ports]
    for port in ports:
        network = desired.networks.get(port.network)
        wanted = (gate.address,) if gate and gate.address else port.addresses
        for text in wanted:
            if network and any(subnet.own and is_host_address(text, subnet.prefix) for subnet in network.subnets):
                return network.name, text
    return None


def _gate_addresses(desired: Desired) -> Faults:
    for guest in desired.guests.values():
        gate = guest.boot.gate
        if gate is None or gate.kind not in ("ping", "tcp") or gate_target(guest, desired):
            continue
        what = gate.address or "the guest"
        problem = f"a gate of kind {gate.kind} asks from the network itself, which cannot reach {what}"
        hint = 'write an address of the guest in a subnet, and own = ... there, or kind = "serial"'
        yield fault(Kind.GUEST, guest.name, ("boot", "gate"), problem, hint)
