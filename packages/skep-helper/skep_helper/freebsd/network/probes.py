"""What this kernel can do for networks, found by trying it, and the modules that it needs."""

from __future__ import annotations

from functools import cache

from ...handlers import Failure
from ...policy import Policy
from ...run import installed
from ...vocabulary import Feature
from . import forwarding, netgraph
from .system import System

MODULES = ("if_bridge", "if_epair", "if_tuntap", "if_vlan", "if_vxlan", "pf")
GUARD_MODULES = ("ng_socket", "ng_ether", "ng_vlan", "ng_bpf")
"""Loaded on the host, because a jail may load none. Loading ng_ether touches no interface until a hook is made."""
_PROBE = "skep_probe"


def load_modules(system: System) -> None:
    """Raises Failure when this kernel has no part of what every network needs."""
    for name in (*MODULES, *GUARD_MODULES):
        try:
            system.load_modules([name])
        except OSError as error:
            message = f"{error.strerror}; networks need it (kldload {name} says more)"
            raise Failure("unsupported", message) from None


def probe(policy: Policy) -> tuple[Feature, ...]:
    """The features of the network part. What does not depend on settings is tried once in the life of the process."""
    system = System()
    stacks = _stacks(system)
    nat = stacks
    if not stacks and not policy.forwarding and not system.sysctl(forwarding.FORWARD):
        nat = 'the host does not forward IPv4: set forwarding = true in the policy, or gateway_enable="YES" in rc.conf'
    return (
        *(_feature(name, stacks) for name in ("vlan", "vxlan", "flat", "rules", "guard")),
        _feature("nat", nat),
        _feature("dnsmasq", "" if installed("dnsmasq") else "dnsmasq is not installed (pkg install dnsmasq)"),
        _feature("bridge-vlan-filtering", "if_bridge tells VLANs apart on FreeBSD 15, and Skep does not use that yet"),
    )


def _feature(name: str, reason: str) -> Feature:
    return Feature(name=name, works=not reason, reason=reason[:256])


@cache
def _stacks(system: System) -> str:
    """Why no stack of our own can be made and filtered here; "" when it can. A jail is made for it and removed."""
    try:
        load_modules(system)
        jid = system.jail_id(_PROBE) or system.make_jail(_PROBE)
        try:
            system.enter(jid, lambda: _try(system))
        finally:
            system.remove_jail(jid)
    except (OSError, Failure) as error:
        return f"needs a kernel with VIMAGE, pf, if_bridge, if_epair and netgraph (tried: {error})"
    return ""


def _try(system: System) -> None:
    system.start_pf()
    system.run([netgraph.NGCTL, "list"])
