"""Every object is written and read back exactly, by itself and as a part of a site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import model_objects as strategies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skepd.model import toml
from skepd.model.checks import check
from skepd.model.definitions import object_from_data, object_to_data, parse_object, render_object, validate
from skepd.model.desired import KIND_OF, Desired
from skepd.model.errors import DefinitionError
from skepd.model.names import Manager
from skepd.model.objects import Boot, CloudInit, Disk, Gate, Guest, Media, Network, Object, Port, Subnet
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


@st.composite
def networks(draw: st.DrawFn, number: int) -> Network:
    """A good network; each number has wires and addresses of its own."""
    kind = draw(st.sampled_from(["isolated", "nat", "flat", "vlan", "vxlan"]))
    wires: dict[str, Any] = {
        "flat": {"uplink": f"eth{number}"},
        "vlan": {"uplink": "trunk0", "vlan": number + 1},
        "vxlan": {"vni": number + 1, "local": "192.0.2.1", "remotes": ("192.0.2.2",)},
    }.get(kind, {})
    own = draw(st.sampled_from([None, "1", "9"])) or ("7" if kind == "nat" else None)
    subnet = Subnet(
        prefix=f"10.{number}.0.0/24",
        own=own and f"10.{number}.0.{own}",
        gateway=draw(st.sampled_from([None, f"10.{number}.0.1", f"10.{number}.0.9"])),
        dhcp=own is not None and draw(st.booleans()),
        dns=draw(strategies.some(strategies.addresses)),
    )
    if subnet.dhcp and draw(st.booleans()):
        subnet = replace(subnet, first=f"10.{number}.0.20", last=f"10.{number}.0.30")
    bare = kind != "nat" and draw(st.booleans())
    return Network(name=f"n{number}", kind=kind, subnets=() if bare else (subnet,), **wires)


@st.composite
def sites(draw: st.DrawFn) -> Desired:
    """Good objects that refer to each other."""
    there = {f"n{number}": draw(networks(number)) for number in range(draw(st.integers(1, 3)))}
    group = replace(draw(strategies.filters), name="f", manager=Manager.SITE)
    group = replace(group, rules=tuple(replace(rule, group=rule.group and "f") for rule in group.rules))
    image = replace(draw(strategies.image_objects), name="i", manager=Manager.SITE)
    ports: dict[str, Port] = {}
    guests: dict[str, Guest] = {}
    for name in draw(st.lists(strategies.names, max_size=3, unique=True)):
        nics = []
        for number in range(draw(st.integers(0, 3))):
            label = draw(st.sampled_from([f"{name}.{number}", f"{name}.{number + 1}", f"{name}.lan", f"p{len(ports)}"]))
            if label not in ports:
                ports[label] = replace(
                    draw(strategies.ports),
                    name=label,
                    network=draw(st.sampled_from(sorted(there))),
                    guest=draw(st.sampled_from([name, None])),
                    filters=draw(st.sampled_from([(), ("f",)])),
                    mac=None,
                    addresses=(),
                    manager=Manager.SITE,
                )
                nics.append(replace(draw(strategies.nics), port=label, slot=draw(st.sampled_from([None, 10 + number]))))
        disks = draw(st.sampled_from([(), (Disk(name="d", image="i"),), (Disk(name="d", size=1 << 30, slot=3),)]))
        boot = Boot(after=tuple(guests)[:1], gate=Gate(kind="serial", text="x"), delay=draw(st.integers(0, 200)))
        guests[name] = replace(
            draw(strategies.guests), name=name, nics=tuple(nics), disks=disks, boot=boot, passthrough=(),
            media=(Media(image="i:2"),), cloud_init=CloudInit(commands=("a\nb",)), manager=Manager.SITE,
        )  # fmt: skip
    return Desired(images={"i": image}, filters={"f": group}, networks=there, ports=ports, guests=guests)


@settings(max_examples=150, deadline=None)
@given(sites())
def test_a_site_is_exported_exactly(desired: Desired) -> None:
    assert [str(error) for error in check(desired)] == []
    text = render_site(desired, least_host_part("h", desired))
    site = parse_site(text, "site.toml")
    assert site.desired == desired
    assert list(site.desired.guests) == list(desired.guests)


@given(strategies.objects)
def test_a_wrong_key_is_named_with_its_line(value: Object) -> None:
    table = object_to_data(value)
    text = toml.dumps({"nmae": 1, **table})
    with pytest.raises(DefinitionError) as caught:
        parse_object(KIND_OF[type(value)], text, "f")
    error = caught.value
    assert (error.line, error.path, error.hint) == (1, ("nmae",), 'did you mean "name"?')
