"""Which other objects a definition needs: they must not change while it is carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from skepd.model.desired import Desired
from skepd.model.names import Kind, Ref
from skepd.model.objects import Filter, Guest, Object, Port, Router

from .store import PARTS


def references(value: Object) -> Iterator[Ref]:
    """The objects that one object names."""
    if isinstance(value, Guest):
        images = [disk.image for disk in value.disks if disk.image] + [medium.image for medium in value.media]
        yield from (Ref(Kind.IMAGE, image.partition(":")[0]) for image in images)
        yield from (Ref(Kind.PORT, nic.port) for nic in value.nics)
        yield from (Ref(Kind.GUEST, name) for name in value.boot.after)
    elif isinstance(value, Port):
        yield Ref(Kind.NETWORK, value.network)
        yield from (Ref(Kind.FILTER, name) for name in value.filters)
        if value.guest is not None:
            yield Ref(Kind.GUEST, value.guest)
    elif isinstance(value, Router):
        yield from (Ref(Kind.NETWORK, leg.network) for leg in value.legs)
    elif isinstance(value, Filter):
        yield from (Ref(Kind.FILTER, rule.group) for rule in value.rules if rule.group)


def needed(desired: Desired, refs: Iterable[Ref]) -> frozenset[Ref]:
    """What the definitions of these objects name, without those objects themselves."""
    changing = frozenset(refs)
    found: set[Ref] = set()
    for ref in changing:
        value = getattr(desired, PARTS[ref.kind]).get(ref.name)
        if value is not None:
            found.update(references(value))
    return frozenset(found) - changing
