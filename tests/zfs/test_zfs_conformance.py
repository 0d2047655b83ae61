"""The contract of the storage verbs on OpenZFS: the conformance suite's, with a dataset instead of files."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from skepd.host import Host

_TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_TESTS), str(_TESTS / "conformance")]
import conformance_hosts  # noqa: E402
import test_conformance_storage as suite  # noqa: E402
from conformance_lab import variants_of  # noqa: E402

Test = Callable[..., None]


def cases() -> Iterator[Any]:
    for name, test in vars(suite).items():
        if name.startswith("test_"):
            known = variants_of(test)
            for values in itertools.product(*known.values()):
                arguments = dict(zip(known, values, strict=True))
                yield pytest.param(test, arguments, id="-".join([name, *values]))


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance_hosts, "_DATASET", "conformance/skep")
        patch.setattr(conformance_hosts, "_POOL", "")
        with conformance_hosts.helper() as found:
            yield found.path


@pytest.fixture
def host(socket: Path) -> Iterator[Host]:
    with conformance_hosts.connected("linux", socket) as found:
        yield found


@pytest.mark.parametrize(("test", "arguments"), cases())
def test_on_a_dataset(host: Host, test: Test, arguments: dict[str, str]) -> None:
    test(host, **arguments)
