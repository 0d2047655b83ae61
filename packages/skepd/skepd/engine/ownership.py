"""Who may change what, and what a site file means for the objects of others."""

from __future__ import annotations

from skepd.model.desired import Desired, ref_of
from skepd.model.names import Kind, Manager, Ref
from skepd.model.objects import Object

from .contract import Conflict
from .store import PARTS, including, without


def check_owner(ref: Ref, there: Object | None, manager: Manager, take_over: bool) -> None:
    """Raises Conflict when somebody else manages the object and taking over was not asked for."""
    if there is not None and there.manager is not manager and not take_over:
        raise Conflict(
            f"{ref} is managed by {there.manager.value}: change it there"
            f"{' (site.toml)' if there.manager is Manager.SITE else ''}, or take it over explicitly (--take-over)"
        )


def with_site(before: Desired, site: Desired) -> Desired:
    """The desired state after a site file: its objects as it says, objects of `site` it no longer names gone."""
    after = before
    for value in before:
        if value.manager is Manager.SITE:
            after = without(after, ref_of(value))
    for value in site:
        ref = ref_of(value)
        there = getattr(before, PARTS[ref.kind]).get(ref.name)
        if there is not None and there.manager is not Manager.SITE:
            raise Conflict(f"{ref} is managed by {there.manager.value}: rename it in site.toml, or remove it there")
        after = including(after, value)
    return after


def without_guest(desired: Desired, name: str) -> Desired:
    """A guest goes with the ports that were made for it."""
    after = without(desired, Ref(Kind.GUEST, name))
    for port in desired.ports.values():
        if port.guest == name:
            after = without(after, ref_of(port))
    return after
