"""Every object is written and read back exactly, by itself and as a part of a site."""

from __future__ import annotations

from dataclasses import replace

import model_objects as strategies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skepd.model import toml
from skepd.model.checks import check
from skepd.model.definitions import object_from_data, object_to_data, parse_object, render_object, validate
from skepd.model.desired import KIND_OF, Desired
from skepd.model.errors import DefinitionError
from skepd.model.names import Kind, Manager
from skepd.model.objects import Guest, Network, Object
from skepd.model.site import least_host_part
from skepd.model.site_reader import parse_site
from skepd.model.site_writer import render_site


@settings(max_examples=300)
@given(strategies.objects)
def test_definitions_round_trip(value: Object) -> None:
    kind = KIND_OF[type(value)]
    text = render_object(value)
    assert parse_object(kind, text, "f") == value
    assert render_object(parse_object(kind, text, "f")) == text
    assert object_from_data(kind, object_to_data(value)) == value == validate(value)


@given(strategies.guests)
def test_only_what_is_not_default_is_written(guest: Guest) -> None:
    data = object_to_data(guest)
    plain = object_to_data(Guest(name=guest.name))
    assert plain == {"name": guest.name}
    assert "manager" not in data or guest.manager != Manager.SITE


def named(strategy: st.SearchStrategy, most: int) -> st.SearchStrategy:  # type: ignore[type-arg]
    ours = strategy.map(lambda value: replace(value, manager=Manager.SITE))
    return st.lists(ours, max_size=most, unique_by=lambda value: value.name).map(
        lambda values: {value.name: value for value in values}
    )


@settings(max_examples=150)
@given(named(strategies.guests, 3), named(strategies.ports, 3), named(strategies.networks, 3), st.data())
def test_what_a_site_may_hold_is_exported_exactly(
    guests: dict[str, Guest], ports: dict[str, Object], networks: dict[str, Network], data: st.DataObject
) -> None:
    """Whatever of random objects passes the checks comes back from its text; the rest is refused by DefinitionError."""
    desired = _fitted(Desired(guests=guests, ports=ports, networks=networks), data)  # type: ignore[arg-type]
    text = render_site(desired, least_host_part("h", desired))
    if check(desired):
        with pytest.raises(DefinitionError):
            parse_site(text, "site.toml")
        return
    site = parse_site(text, "site.toml")
    assert site.desired == desired
    assert [list(getattr(site.desired, f"{kind}s")) for kind in (Kind.GUEST, Kind.NETWORK)] == [
        list(guests), list(networks)
    ]  # fmt: skip


def _fitted(desired: Desired, data: st.DataObject) -> Desired:
    """Objects that refer to each other more often than chance would have it."""
    ports = {}
    guests = {}
    networks = {name: replace(network, subnets=(), host_address=None) for name, network in desired.networks.items()}
    for name, guest in desired.guests.items():
        own = []
        for number, nic in enumerate(guest.nics):
            port = f"{name}.{data.draw(st.sampled_from([number, number + 1, 'lan']))}"
            if networks and port not in ports:
                source = data.draw(strategies.ports)
                ports[port] = replace(
                    source, name=port, guest=name, network=next(iter(networks)), filters=(), manager=Manager.SITE
                )
                own.append(replace(nic, port=port, slot=None))
        boot = replace(guest.boot, after=(), gate=None)
        disks = tuple(
            replace(disk, image=None, size=disk.size or 1 << 30, slot=None, name=f"d{number}")
            for number, disk in enumerate(guest.disks)
        )
        guests[name] = replace(
            guest, nics=tuple(own), boot=boot, disks=disks, media=(), cloud_init=None, passthrough=()
        )
    return replace(desired, guests=guests, ports=ports, networks=networks)


@given(strategies.objects)
def test_a_wrong_key_is_named_with_its_line(value: Object) -> None:
    table = object_to_data(value)
    text = toml.dumps({"nmae": 1, **table})
    with pytest.raises(DefinitionError) as caught:
        parse_object(KIND_OF[type(value)], text, "f")
    error = caught.value
    assert (error.line, error.path, error.hint) == (1, ("nmae",), 'did you mean "name"?')
