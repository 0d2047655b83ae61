"""The contract of the network verbs: create, repeat, undo, refuse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from conformance_lab import PORT, PREFIX, A, B, network, port, router
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host, HostError
from skepd.plan.digests import sealed


def code(host: Host, request: object) -> str:
    with pytest.raises(HostError) as caught:
        host.perform([request])
    return caught.value.code


@pytest.fixture
def networks(host: Host) -> Host:
    host.perform([v.ApplyNetwork(network=network(A, 1)), v.ApplyNetwork(network=network(B, 2))])
    return host


def test_a_network(host: Host) -> None:
    spec = network(A, 1)
    host.perform([v.ApplyNetwork(network=spec), v.ApplyNetwork(network=spec)])
    assert observe(host).network_of[A].digest == spec.digest
    other = sealed(replace(spec, mtu=1400))
    host.perform([v.ApplyNetwork(network=other)])
    assert observe(host).network_of[A].digest == other.digest
    remove = v.RemoveNetwork(network=A)
    host.perform([remove, remove])
    assert A not in observe(host).network_of


def test_a_port(networks: Host) -> None:
    spec = port()
    networks.perform([v.ApplyPort(port=spec), v.ApplyPort(port=spec)])
    reading = observe(networks).port_of[PORT]
    assert (reading.network, reading.digest) == (A, spec.digest)
    changed = port(addresses=("10.251.1.11",))
    networks.perform([v.ApplyPort(port=changed)])
    assert observe(networks).port_of[PORT].digest == changed.digest
    assert observe(networks).port_of[PORT].interface == reading.interface
    remove = v.RemovePort(port=PORT, network=A)
    networks.perform([remove, remove])
    assert PORT not in observe(networks).port_of


def test_a_port_needs_its_network_and_moves_by_removal(networks: Host) -> None:
    assert code(networks, v.ApplyPort(port=port(network=f"{PREFIX}-none"))) == "missing"
    networks.perform([v.ApplyPort(port=port())])
    moved = v.ApplyPort(port=port(network=B))
    assert code(networks, moved) == "conflict"
    # Removing it where it is not leaves it where it is.
    networks.perform([v.RemovePort(port=PORT, network=B)])
    assert observe(networks).port_of[PORT].network == A
    networks.perform([v.RemovePort(port=PORT, network=A), moved])
    assert observe(networks).port_of[PORT].network == B


def test_a_network_with_a_port_stays(networks: Host) -> None:
    networks.perform([v.ApplyPort(port=port())])
    assert code(networks, v.RemoveNetwork(network=A)) == "busy"
    assert PORT in observe(networks).port_of


def test_a_group(networks: Host) -> None:
    key = (A, "peers")
    group = v.SetGroup(network=A, group="peers", addresses=("10.251.1.10/32", "fd00:251::/64"))
    networks.perform([group, group])
    assert set(observe(networks).group_of[key]) == set(group.addresses)
    networks.perform([replace(group, addresses=("10.251.1.12/32",))])
    assert observe(networks).group_of[key] == ("10.251.1.12/32",)
    empty = replace(group, addresses=())
    networks.perform([empty, empty])
    assert key not in observe(networks).group_of


def test_a_group_outlives_another_apply_and_goes_with_its_network(networks: Host) -> None:
    group = v.SetGroup(network=A, group="peers", addresses=("10.251.1.10/32",))
    networks.perform([group, v.ApplyNetwork(network=sealed(replace(network(A, 1), mtu=1400)))])
    assert observe(networks).group_of[A, "peers"] == group.addresses
    networks.perform([v.RemoveNetwork(network=A), v.ApplyNetwork(network=network(A, 1))])
    assert (A, "peers") not in observe(networks).group_of
    assert code(networks, replace(group, network=f"{PREFIX}-none")) == "missing"


def test_a_router(networks: Host) -> None:
    spec = router()
    networks.perform([v.ApplyRouter(router=spec), v.ApplyRouter(router=spec)])
    assert observe(networks).router_of[spec.name].digest == spec.digest
    assert code(networks, v.RemoveNetwork(network=A)) == "busy"
    remove = v.RemoveRouter(router=spec.name)
    networks.perform([remove, remove, v.RemoveNetwork(network=A)])
    assert spec.name not in observe(networks).router_of
    assert code(networks, v.ApplyRouter(router=spec)) == "missing"
