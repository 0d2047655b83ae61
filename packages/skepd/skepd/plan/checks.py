"""What the host at hand cannot do, said before anything is changed."""

from __future__ import annotations

from skepd.model.facts import HostFacts
from skepd.model.names import Kind, Ref
from skepd.model.objects import Guest, Network, Port

from .builder import guest_ref
from .context import Context
from .show import size_text

_NETWORK_NEEDS = {"nat": "nat", "vlan": "vlan", "vxlan": "vxlan"}


def check_network(network: Network, facts: HostFacts) -> str:
    """What stands against this network here; "" for nothing."""
    need = _NETWORK_NEEDS.get(network.kind)
    if need in facts.missing:
        return f"{network.kind} networks do not work on this host: {facts.missing[need]}"
    if network.uplink is not None and network.uplink not in facts.uplinks:
        known = ", ".join(facts.uplinks) or "none"
        return f"uplink {network.uplink} is not one that this host's policy allows (allowed: {known})"
    return ""


def check_port(port: Port, facts: HostFacts) -> str:
    if port.vlans and "bridge-vlan-filtering" in facts.missing:
        return f"tagged VLANs into a guest do not work on this host: {facts.missing['bridge-vlan-filtering']}"
    return ""


def check_guest(guest: Guest, facts: HostFacts) -> str:
    if guest.memory > facts.memory:
        return f"memory {size_text(guest.memory)} is more than the host has ({size_text(facts.memory)})"
    if guest.tpm and "swtpm" in facts.missing:
        return f"a TPM does not work on this host: {facts.missing['swtpm']}"
    if guest.secure_boot and "secure-boot" in facts.missing:
        return f"secure boot does not work on this host: {facts.missing['secure-boot']}"
    if guest.passthrough:
        return _check_passthrough(guest, facts)
    return ""


def _check_passthrough(guest: Guest, facts: HostFacts) -> str:
    if "passthrough" in facts.missing:
        return f"pass-through does not work on this host: {facts.missing['passthrough']}"
    for address in guest.passthrough:
        if address not in facts.pci_devices:
            return f"there is no PCI device {address} on this host (see skep host show)"
    return ""


def check_totals(context: Context) -> None:
    """Notes about what all guests together ask for; hosts may be overcommitted, knowingly."""
    if not context.touched:
        return
    wanted = sum(guest.memory for guest in context.after.guests.values() if guest.power == "on")
    if wanted > context.facts.memory:
        have = size_text(context.facts.memory)
        context.build.note(None, f"guests that are on may use {size_text(wanted)} of memory, the host has {have}")
    for name, guest in context.after.guests.items():
        ref = guest_ref(name)
        if ref in context.touched and guest.cpus.total > context.facts.cpus:
            context.build.note(ref, f"{guest.cpus.total} CPUs are more than the host's {context.facts.cpus}: slow")


def note_foreign(context: Context) -> None:
    """Say what is on the host but in no definition; it may be somebody's, so it is never touched."""
    before, after, observed = context.before, context.after, context.observed
    parts = (
        (Kind.GUEST, observed.folder_of, before.guests, after.guests, "folder of guest"),
        (Kind.NETWORK, observed.network_of, before.networks, after.networks, "network"),
        (Kind.ROUTER, observed.router_of, before.routers, after.routers, "router"),
        (Kind.PORT, observed.port_of, before.ports, after.ports, "port"),
        (Kind.GUEST, observed.guest_of, before.guests, after.guests, "guest"),
    )
    for kind, there, old, new, words in parts:
        for name in there.keys() - new.keys():
            if name not in old and not (words == "guest" and observed.guest_of[name].state in ("stopped", "crashed")):
                text = f"{words} {name} is on the host but in no definition: left alone"
                context.build.note(Ref(kind, name), text)
