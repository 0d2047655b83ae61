"""Work beside other work."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from skep_helper.meanwhile import Meanwhile


def test_works_run_beside_the_body_in_their_order() -> None:
    done: list[int] = []
    free = threading.Event()
    with Meanwhile() as meanwhile:
        meanwhile.add(lambda: free.wait(60) and done.append(1))
        meanwhile.add(lambda: done.append(2))
        meanwhile.begin()
        assert done == []
        free.set()
    assert done == [1, 2]


def run(*works: Callable[[], object], ends: type[Exception] | None = None) -> None:
    """Works beside a body that ends with an exception, or well."""
    with Meanwhile() as meanwhile:
        for work in works:
            meanwhile.add(work)
        if ends:
            raise ends


def test_works_that_were_not_begun_are_done_all_the_same() -> None:
    done: list[int] = []
    with pytest.raises(KeyError):
        run(lambda: done.append(1), ends=KeyError)
    assert done == [1]


def test_the_first_failure_is_raised_and_the_other_works_are_done() -> None:
    done: list[int] = []
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0, lambda: [][1], lambda: done.append(1))
    assert done == [1]


def test_a_failure_of_the_body_goes_first() -> None:
    with pytest.raises(KeyError):
        run(lambda: 1 // 0, ends=KeyError)
