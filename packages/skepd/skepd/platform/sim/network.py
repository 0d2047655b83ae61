"""Networks of the simulated host. Nothing of it survives a power loss."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from skep_helper import vocabulary as v
from skep_helper.vocabulary.network import GroupReading, PortReading, StackReading

from skepd.host import HostError

from .table import Table

_NEEDS = {"nat": "nat", "vlan": "vlan", "vxlan": "vxlan"}


class SimNetwork:
    """missing: facility -> reason, as in the features of Hello. uplinks: those that the policy allows."""

    def __init__(self, uplinks: tuple[str, ...], missing: Mapping[str, str]) -> None:
        self._uplinks, self._missing = uplinks, missing
        self.networks: dict[str, v.NetworkSpec] = {}
        self.ports: dict[str, v.PortSpec] = {}
        self.routers: dict[str, v.RouterSpec] = {}
        self.groups: dict[tuple[str, str], tuple[str, ...]] = {}
        self.damaged: dict[str, str] = {}
        """Networks of which a part is gone, and which; an ApplyNetwork repairs them."""

    def table(self) -> Table:
        return {
            v.ApplyNetwork: self.apply_network,
            v.RemoveNetwork: self.remove_network,
            v.ApplyPort: self.apply_port,
            v.RemovePort: self.remove_port,
            v.SetGroup: self.set_group,
            v.ApplyRouter: self.apply_router,
            v.RemoveRouter: self.remove_router,
            v.ReadNetworks: self.read,
        }

    def lose_power(self) -> None:
        for part in (self.networks, self.ports, self.routers, self.groups, self.damaged):
            part.clear()

    def network(self, name: str) -> v.NetworkSpec:
        found = self.networks.get(name)
        if found is None:
            raise HostError("missing", f"there is no network {name}")
        return found

    def apply_network(self, request: v.ApplyNetwork) -> None:
        spec = request.network
        need = _NEEDS.get(spec.kind, "")
        if need in self._missing:
            raise HostError("unsupported", f"{spec.kind} networks do not work here: {self._missing[need]}")
        if spec.kind in ("flat", "vlan") and spec.uplink not in self._uplinks:
            raise HostError("rejected", f"uplink {spec.uplink} is not in the policy")
        for other in self.networks.values():
            if other.name != spec.name and _wire(spec) is not None and _wire(other) == _wire(spec):
                raise HostError("conflict", f"network {other.name} is on the same wire as {spec.name}")
        self.networks[spec.name] = spec
        self.damaged.pop(spec.name, None)

    def remove_network(self, request: v.RemoveNetwork) -> None:
        name = request.network
        ports = [port.name for port in self.ports.values() if port.network == name]
        if ports:
            raise HostError("busy", f"port {ports[0]} is still in network {name}")
        for router in self.routers.values():
            if any(leg.network == name for leg in router.legs):
                raise HostError("busy", f"router {router.name} still has a leg in network {name}")
        self.networks.pop(name, None)
        self.damaged.pop(name, None)
        self.groups = {key: addresses for key, addresses in self.groups.items() if key[0] != name}

    def apply_port(self, request: v.ApplyPort) -> None:
        spec = request.port
        self.network(spec.network)
        there = self.ports.get(spec.name)
        if there is not None and there.network != spec.network:
            raise HostError("conflict", f"port {spec.name} is in network {there.network}: remove it there first")
        if spec.vlans and "bridge-vlan-filtering" in self._missing:
            raise HostError("unsupported", f"no tagged VLANs into guests: {self._missing['bridge-vlan-filtering']}")
        self.ports[spec.name] = spec

    def remove_port(self, request: v.RemovePort) -> None:
        there = self.ports.get(request.port)
        if there is not None and there.network == request.network:
            del self.ports[request.port]

    def set_group(self, request: v.SetGroup) -> None:
        key = (request.network, request.group)
        if not request.addresses:
            self.groups.pop(key, None)
            return
        self.network(request.network)
        self.groups[key] = request.addresses

    def apply_router(self, request: v.ApplyRouter) -> None:
        for leg in request.router.legs:
            self.network(leg.network)
        self.routers[request.router.name] = request.router

    def remove_router(self, request: v.RemoveRouter) -> None:
        self.routers.pop(request.router, None)

    def read(self, request: v.ReadNetworks) -> v.NetworkReading:
        return v.NetworkReading(
            networks=tuple(
                StackReading(
                    name=name,
                    digest="" if name in self.damaged else spec.digest,
                    missing=self.damaged.get(name, ""),
                )
                for name, spec in sorted(self.networks.items())
            ),
            ports=tuple(
                PortReading(name=name, network=spec.network, digest=spec.digest, interface=_interface(name))
                for name, spec in sorted(self.ports.items())
            ),
            routers=tuple(StackReading(name=name, digest=spec.digest) for name, spec in sorted(self.routers.items())),
            groups=tuple(
                GroupReading(network=network, group=group, addresses=addresses)
                for (network, group), addresses in sorted(self.groups.items())
            ),
        )


def _wire(spec: v.NetworkSpec) -> tuple[object, ...] | None:
    """What two networks of a host cannot both have."""
    if spec.kind == "vxlan":
        return ("vni", spec.vni)
    if spec.kind in ("flat", "vlan"):
        return (spec.uplink, spec.vlan)
    return None


def _interface(port: str) -> str:
    return f"sk{hashlib.sha256(port.encode()).hexdigest()[:12]}"
