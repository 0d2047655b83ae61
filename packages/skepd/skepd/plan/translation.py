"""All of a desired state in the vocabulary's words, made when asked for and remembered while inputs stay the same."""

from __future__ import annotations

from functools import cached_property

from skep_helper.vocabulary import GuestSpec, NetworkSpec, PortSpec, Rejected, RouterSpec

from skepd.model.desired import Desired
from skepd.model.objects import Filter, Guest, Network, Port

from .cache import Cache
from .nat import nat_prefixes
from .translate_guest import guest_spec, image_version
from .translate_network import network_spec, router_spec
from .translate_port import group_members, port_spec
from .translate_seed import Seed, seed_of


class Translation:
    """Specifications by name. Methods raise Rejected for a dangling reference or a value of no vocabulary."""

    def __init__(self, desired: Desired, cache: Cache) -> None:
        self.desired = desired
        self._cache = cache
        self._filters: dict[tuple[str, ...], tuple[Filter, ...]] = {}

    def network(self, name: str) -> NetworkSpec:
        network = self.desired.networks[name]
        ports = tuple(self.ports_by_network.get(name, ()))
        nat = self._nat_prefixes.get(name)
        return self._cache.remember("network", name, (network, ports, nat), lambda: network_spec(network, ports, nat))

    def router(self, name: str) -> RouterSpec:
        router = self.desired.routers[name]
        return self._cache.remember("router", name, (router,), lambda: router_spec(router))

    def port(self, name: str) -> PortSpec:
        port = self.desired.ports[name]
        filters = self._filters.get(port.filters)
        if filters is None:
            filters = self._filters[port.filters] = tuple(self._filter(name) for name in port.filters)
        return self._cache.remember("port", name, (port, filters), lambda: port_spec(port, filters))

    def guest(self, name: str) -> GuestSpec:
        guest = self.desired.guests[name]
        ports = self._ports_of(guest)
        media = self.media_of(guest) if guest.media else ()
        return self._cache.remember("guest", name, (guest, ports, media), lambda: guest_spec(guest, ports, media))

    def seed(self, name: str) -> Seed | None:
        """None when the guest has no cloud_init."""
        guest = self.desired.guests[name]
        if guest.cloud_init is None:
            return None
        ports = self._ports_of(guest)
        networks = tuple(self._network_of(port) for port in ports)
        return self._cache.remember("seed", name, (guest, ports, networks), lambda: seed_of(guest, ports, networks))

    def media_of(self, guest: Guest) -> tuple[tuple[str, str], ...]:
        """(image, version) of each installation medium."""
        found = tuple(image_version(media.image, self.desired.images) for media in guest.media)
        for name, version in found:
            if not version:
                raise Rejected(f'no image "{name}" is defined: define it with a version, or write {name}:VERSION')
        return found

    @cached_property
    def groups(self) -> dict[tuple[str, str], tuple[str, ...]]:
        """(network, filter) -> addresses of the remote group."""
        desired = self.desired
        inputs = (*desired.ports.values(), None, *desired.filters.values(), None, *desired.routers.values())
        return self._cache.remember(
            "groups", "", inputs, lambda: group_members(desired.ports, desired.filters, desired.routers)
        )

    @cached_property
    def ports_by_network(self) -> dict[str, list[Port]]:
        found: dict[str, list[Port]] = {}
        for port in self.desired.ports.values():
            found.setdefault(port.network, []).append(port)
        return found

    @cached_property
    def _nat_prefixes(self) -> dict[str, str]:
        networks = tuple(self.desired.networks.values())
        return self._cache.remember("nat", "", networks, lambda: nat_prefixes(networks))

    def _ports_of(self, guest: Guest) -> tuple[Port, ...]:
        ports = self.desired.ports
        try:
            return tuple([ports[nic.port] for nic in guest.nics])
        except KeyError as missing:
            raise Rejected(f'no port "{missing.args[0]}" is defined: define it, or remove the card') from None

    def _filter(self, name: str) -> Filter:
        found = self.desired.filters.get(name)
        if found is None:
            raise Rejected(f'no filter "{name}" is defined: define it, or remove it from the port')
        return found

    def _network_of(self, port: Port) -> Network:
        found = self.desired.networks.get(port.network)
        if found is None:
            raise Rejected(f'port "{port.name}": no network "{port.network}" is defined')
        return found
