"""Requests about the helper and its host."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Checked, Count, InterfaceName, Name, ShortText


@dataclass(frozen=True, kw_only=True)
class Hello(Checked):
    """First request of a connection. Answer: HelloReading."""

    version: Count


@dataclass(frozen=True, kw_only=True)
class Feature(Checked):
    """A facility of the host, probed by trying it (never by looking for a file).

    name: e.g. kvm, vlan, vxlan, bridge-vlan-filtering, conntrack-bridge, nat, zfs, swtpm, passthrough.
    reason: why it does not work and what would make it work; empty when it works.
    """

    name: Name
    works: bool
    reason: ShortText = ""


@dataclass(frozen=True, kw_only=True)
class HelloReading(Checked):
    """uplinks: interfaces of the host that the policy lets networks use."""

    version: Count
    platform: Name
    boot_id: ShortText
    features: tuple[Feature, ...] = ()
    uplinks: tuple[InterfaceName, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Cancel(Checked):
    """Cancel a long request of this connection by its id. Answer: whether it was still running."""

    request: Count
