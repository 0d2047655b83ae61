"""The desired state of a host: all definitions together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from .names import Kind, Ref
from .objects import Filter, Guest, Image, Network, Object, Port, Router

KIND_OF: Mapping[type, Kind] = MappingProxyType(
    {
        Image: Kind.IMAGE,
        Filter: Kind.FILTER,
        Network: Kind.NETWORK,
        Router: Kind.ROUTER,
        Port: Kind.PORT,
        Guest: Kind.GUEST,
    }
)


def ref_of(value: Object) -> Ref:
    return Ref(KIND_OF[type(value)], value.name)


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Definitions by name. Treat the mappings as frozen."""

    images: Mapping[str, Image] = field(default_factory=dict)
    filters: Mapping[str, Filter] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    routers: Mapping[str, Router] = field(default_factory=dict)
    ports: Mapping[str, Port] = field(default_factory=dict)
    guests: Mapping[str, Guest] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Object]:
        for part in (self.images, self.filters, self.networks, self.routers, self.ports, self.guests):
            yield from part.values()
