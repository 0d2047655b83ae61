"""The guard, with real frames: each bad frame between two good ones, all three looked for in one capture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from network_forgeries import (
    BAD,
    GOOD,
    Pair,
    a_change_holds_at_once,
    all_pass_without_a_guard,
    honest_fragments_pass,
    reaches,
)
from network_lab import Lab, own_stack

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with own_stack():
        lab = Lab()
        try:
            network = lab.network("guard")
            yield Pair(lab.port(network, 5), lab.port(network, 6))
        finally:
            lab.close()


@pytest.mark.parametrize("case", BAD)
def test_a_forged_frame_is_dropped(pair: Pair, case: str) -> None:
    assert reaches(pair, *BAD[case]) == []


@pytest.mark.parametrize("case", GOOD)
def test_an_honest_frame_passes(pair: Pair, case: str) -> None:
    assert reaches(pair, *GOOD[case]) == GOOD[case]


def test_honest_fragments_pass(pair: Pair) -> None:
    honest_fragments_pass(pair)


def test_without_a_guard_every_forged_frame_passes() -> None:
    with own_stack():
        lab = Lab()
        try:
            network = lab.network("open")
            all_pass_without_a_guard(Pair(lab.port(network, 5, guarded=False), lab.port(network, 6)))
        finally:
            lab.close()


def test_a_changed_guard_holds_at_once() -> None:
    with own_stack():
        lab = Lab()
        try:
            network = lab.network("pairs")
            a_change_holds_at_once(lab.change, Pair(lab.port(network, 5), lab.port(network, 6)))
        finally:
            lab.close()
