"""The contract of the network verbs: create, repeat, undo, refuse."""

from __future__ import annotations

from dataclasses import replace

from conformance_lab import PORT, PREFIX, A, B, network, port, refused, router
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host
from skepd.plan.digests import sealed


def make_networks(host: Host) -> None:
    host.perform([v.ApplyNetwork(network=network(host, A, 1)), v.ApplyNetwork(network=network(host, B, 2))])


def test_a_network(host: Host) -> None:
    spec = network(host, A, 1)
    host.perform([v.ApplyNetwork(network=spec), v.ApplyNetwork(network=spec)])
    assert observe(host).network_of[A].digest == spec.digest
    other = sealed(replace(spec, mtu=1400))
    host.perform([v.ApplyNetwork(network=other)])
    assert observe(host).network_of[A].digest == other.digest
    remove = v.RemoveNetwork(network=A)
    host.perform([remove, remove])
    assert A not in observe(host).network_of


def test_a_port(host: Host) -> None:
    make_networks(host)
    spec = port()
    host.perform([v.ApplyPort(port=spec), v.ApplyPort(port=spec)])
    reading = observe(host).port_of[PORT]
    assert (reading.network, reading.digest) == (A, spec.digest)
    changed = port(addresses=("10.251.1.11",))
    host.perform([v.ApplyPort(port=changed)])
    assert observe(host).port_of[PORT].digest == changed.digest
    assert observe(host).port_of[PORT].interface == reading.interface
    remove = v.RemovePort(port=PORT, network=A)
    host.perform([remove, remove])
    assert PORT not in observe(host).port_of


def test_a_port_needs_its_network_and_moves_by_removal(host: Host) -> None:
    make_networks(host)
    assert refused(host, v.ApplyPort(port=port(network=f"{PREFIX}-none"))) == "missing"
    host.perform([v.ApplyPort(port=port())])
    moved = v.ApplyPort(port=port(network=B))
    assert refused(host, moved) == "conflict"
    # Removing it where it is not leaves it where it is.
    host.perform([v.RemovePort(port=PORT, network=B)])
    assert observe(host).port_of[PORT].network == A
    host.perform([v.RemovePort(port=PORT, network=A), moved])
    assert observe(host).port_of[PORT].network == B


def test_a_network_with_a_port_stays(host: Host) -> None:
    make_networks(host)
    host.perform([v.ApplyPort(port=port())])
    assert refused(host, v.RemoveNetwork(network=A)) == "busy"
    assert PORT in observe(host).port_of


def test_a_group(host: Host) -> None:
    make_networks(host)
    key = (A, "peers")
    group = v.SetGroup(network=A, group="peers", addresses=("10.251.1.10/32", "fd00:251::/64"))
    host.perform([group, group])
    assert set(observe(host).group_of[key]) == set(group.addresses)
    host.perform([replace(group, addresses=("10.251.1.12/32",))])
    assert observe(host).group_of[key] == ("10.251.1.12/32",)
    empty = replace(group, addresses=())
    host.perform([empty, empty])
    assert key not in observe(host).group_of


def test_a_group_outlives_another_apply_and_goes_with_its_network(host: Host) -> None:
    make_networks(host)
    group = v.SetGroup(network=A, group="peers", addresses=("10.251.1.10/32",))
    host.perform([group, v.ApplyNetwork(network=sealed(replace(network(host, A, 1), mtu=1400)))])
    assert observe(host).group_of[A, "peers"] == group.addresses
    host.perform([v.RemoveNetwork(network=A), v.ApplyNetwork(network=network(host, A, 1))])
    assert (A, "peers") not in observe(host).group_of
    assert refused(host, replace(group, network=f"{PREFIX}-none")) == "missing"


def test_a_router(host: Host) -> None:
    make_networks(host)
    spec = router()
    host.perform([v.ApplyRouter(router=spec), v.ApplyRouter(router=spec)])
    assert observe(host).router_of[spec.name].digest == spec.digest
    assert refused(host, v.RemoveNetwork(network=A)) == "busy"
    remove = v.RemoveRouter(router=spec.name)
    host.perform([remove, remove, v.RemoveNetwork(network=A)])
    assert spec.name not in observe(host).router_of
    assert refused(host, v.ApplyRouter(router=spec)) == "missing"
