"""Checks against the host and its images, and of objects that other managers own."""

import pytest
from skepd.model.checks import check, gate_target
from skepd.model.desired import Desired
from skepd.model.errors import DefinitionError, DefinitionErrors
from skepd.model.facts import HostFacts
from skepd.model.names import Manager
from skepd.model.objects import Boot, Cpus, Disk, Gate, Guest, Image, Network, Nic, Port, Subnet
from skepd.model.site_checks import check_platform
from skepd.model.site_reader import parse_site

GIB = 1 << 30
FACTS = HostFacts(
    platform="linux", hostname="h", boot_id="b", cpus=2, memory=4 * GIB, disk_format="qcow2",
    uplinks=("eth1",), pci_devices=("0000:03:00.0",),
    missing={"vlan": "the kernel has no 8021q", "swtpm": "swtpm is not installed"},
)  # fmt: skip


def guests(**fields: object) -> Desired:
    guest = Guest(name="g", disks=(Disk(name="d", size=GIB, image="base"),), **fields)  # type: ignore[arg-type]
    return Desired(guests={"g": guest}, images={"base": Image(name="base", version="2")})


def problems(desired: Desired, **more: object) -> list[str]:
    return [str(error) for error in check(desired, FACTS, **more)]  # type: ignore[arg-type]


def test_good_objects_pass() -> None:
    assert problems(guests(memory=4 * GIB, cpus=Cpus(cores=2), passthrough=("0000:03:00.0",))) == []


def test_memory_above_the_hosts() -> None:
    assert problems(guests(memory=5 * GIB)) == ['guest g: 5G are more than the host has; write at most "4G"']


def test_more_cpus_than_the_host() -> None:
    assert problems(guests(cpus=Cpus(cores=3))) == ["guest g: 3 CPUs are more than the host has; write at most 2"]


def test_unknown_device() -> None:
    (problem,) = problems(guests(passthrough=("0000:03:00.1",)))
    assert "no device 0000:03:00.1" in problem
    assert "0000:03:00.0" in problem


def test_facilities_that_are_missing_are_named_with_their_reason() -> None:
    network = Network(name="n", kind="vlan", uplink="eth1", vlan=3)
    desired = Desired(networks={"n": network}, guests={"g": Guest(name="g", tpm=True)})
    text = "\n".join(problems(desired))
    assert "network n: this host cannot do it: the kernel has no 8021q" in text
    assert "guest g: this host cannot do it: swtpm is not installed" in text


def test_uplink_that_the_host_has_not() -> None:
    (problem,) = problems(Desired(networks={"n": Network(name="n", kind="flat", uplink="eth2")}))
    assert problem == 'network n: the host has no uplink "eth2"; did you mean "eth1"?'


@pytest.mark.parametrize(("size", "count"), [(GIB, 0), (GIB + 1, 1), (2 * GIB, 1)])
def test_disk_smaller_than_its_image(size: int, count: int) -> None:
    found = check(guests(), image_sizes={"base:2": size})
    assert len(found) == count
    if count:
        assert found[0].path == ("guest", "g", "disk", "0", "size")
        assert "smaller than its image base:2" in found[0].problem


def test_image_on_the_host_needs_no_definition() -> None:
    guest = Guest(name="g", disks=(Disk(name="d", image="kept:1"),))
    assert [str(error) for error in check(Desired(guests={"g": guest}))] == [
        'guest g: there is no image "kept"; there is no image yet'
    ]
    assert check(Desired(guests={"g": guest}), image_sizes={"kept:1": GIB}) == []


def test_site_locates_errors_of_the_host() -> None:
    text = '[host]\nname = "h"\n[network.n]\n[guest.g]\nmemory = "64G"\n[[guest.g.nic]]\nnetwork = "n"\nvlans = [3]\n'
    site = parse_site(text, "s.toml")
    facts = HostFacts(
        platform="linux", hostname="h", boot_id="", cpus=1, memory=GIB, disk_format="qcow2",
        missing={"bridge-vlan-filtering": "not in this kernel"},
    )  # fmt: skip
    errors = [site.locate(error) for error in check(site.desired, facts)]
    assert [(error.file, error.line) for error in errors] == [("s.toml", 5), ("s.toml", 8)]
    assert errors[1].path == ("guest", "g", "nic", "0", "vlans")


def test_site_may_use_what_others_own_and_is_blamed_for_clashes() -> None:
    network = Network(name="n", manager=Manager.USER, subnets=(Subnet(prefix="10.0.0.0/24", own="10.0.0.1"),))
    theirs = Port(name="x", manager=Manager.USER, network="n", addresses=("10.0.0.2",), mac="02:00:00:00:00:02")
    # Their own fault is not this site's: nobody has this filter.
    broken = Port(name="y", manager=Manager.USER, network="n", filters=("none",))
    others = Desired(networks={"n": network}, ports={"x": theirs, "y": broken})
    text = '[host]\nname = "h"\n[guest.g]\n[[guest.g.nic]]\nnetwork = "n"\naddresses = "10.0.0.{}"\n'
    assert "n" not in parse_site(text.format(3), "s", others).desired.networks
    with pytest.raises(DefinitionError, match="is the address of port x already") as caught:
        parse_site(text.format(2), "s", others)
    assert [(error.file, error.line) for error in caught.value.errors] == [("s", 6)]


def test_gate_asks_where_the_network_has_an_address() -> None:
    far = Network(name="far", subnets=(Subnet(prefix="10.0.0.0/24", dhcp=False),))
    near = Network(name="near", subnets=(Subnet(prefix="10.1.0.0/24", own="10.1.0.1"),))
    ports = {
        "g.0": Port(name="g.0", network="far", guest="g", addresses=("10.0.0.2",)),
        "g.1": Port(name="g.1", network="near", guest="g", addresses=("10.1.0.2",)),
    }
    guest = Guest(name="g", nics=(Nic(port="g.0"), Nic(port="g.1")), boot=Boot(gate=Gate(kind="ping")))
    desired = Desired(networks={"far": far, "near": near}, ports=ports, guests={"g": guest})
    assert gate_target(guest, desired) == ("near", "10.1.0.2")
    assert check(desired) == []


def test_long_chains_and_many_cycles_end() -> None:
    chain = {f"g{n}": Guest(name=f"g{n}", boot=Boot(after=(f"g{n + 1}",) if n < 5000 else ())) for n in range(5001)}
    assert check(Desired(guests=chain)) == []
    ring = chain | {"g5000": Guest(name="g5000", boot=Boot(after=("g0",)))}
    (error,) = check(Desired(guests=ring))
    assert "guests wait for each other: g0 -> g1 -> " in error.problem


def test_platform() -> None:
    site = parse_site('[host]\nname = "h"\nplatform = "freebsd"\n', "s")
    assert [error.line for error in check_platform(site, FACTS)] == [3]
    assert check_platform(parse_site('[host]\nname = "h"\n', "s"), FACTS) == []


def test_several_errors_are_one_exception_with_a_line_for_each() -> None:
    errors = DefinitionErrors([DefinitionError("a", file="f", line=1), DefinitionError("b", "c", "f", 2)])
    assert str(errors) == "f:1: a\nf:2: b; c"
    assert (errors.problem, errors.line) == ("a", 1)
    assert [error.problem for error in errors.errors] == ["a", "b"]
