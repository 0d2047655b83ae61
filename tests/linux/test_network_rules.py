"""The rules, with real packets: the scenarios of network_rules, and what is this platform's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from network_lab import Lab, own_stack
from network_rules import SCENARIOS, World, tcp_in
from skep_helper.linux.network import names

pytestmark = pytest.mark.real


@pytest.fixture
def world() -> Iterator[World]:
    with own_stack():
        lab = Lab()
        try:
            yield World(lab)
        finally:
            lab.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_rules(world: World, scenario: Callable[[World], None]) -> None:
    scenario(world)


def test_a_change_touches_the_chains_of_one_port(world: World) -> None:
    namespace = names.network_namespace(world.network.name)
    tap = names.tap(world.lab.policy, world.server.spec.name)

    def others() -> list[str]:
        chains = world.lab.inside(namespace, "nft", "-a", "list", "ruleset").split("\tchain ")
        return [chain for chain in chains if not chain.startswith((f"in-{tap}", f"out-{tap}"))]

    before = others()
    world.let(tcp_in(80))
    assert others() == before
    assert world.connect(80)
