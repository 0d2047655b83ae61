"""The contract of the storage verbs on OpenZFS: the conformance suite's, with a dataset instead of files."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from skepd.helper_client import HelperClient
from skepd.host import Host

_TESTS = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_TESTS), str(_TESTS / "conformance")]
import conformance_hosts  # noqa: E402
import test_conformance_storage as suite  # noqa: E402
from conformance_lab import Lacking, runs_on, sweep, variants_of  # noqa: E402

Test = Callable[..., None]


def cases() -> Iterator[Any]:
    for name, test in vars(suite).items():
        if name.startswith("test_") and runs_on(test, "linux"):
            known = variants_of(test)
            for values in itertools.product(*known.values()):
                arguments = dict(zip(known, values, strict=True))
                yield pytest.param(test, arguments, id="-".join([name, *values]))


@pytest.fixture(scope="module")
def client(module_pool: str) -> Iterator[Host]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conformance_hosts, "_DATASET", f"{module_pool}/skep")
        patch.setattr(conformance_hosts, "_POOL", "")
        with conformance_hosts.helper() as helper:
            found = HelperClient(helper.path)
            yield found
            found.close()


@pytest.fixture
def host(client: Host) -> Iterator[Host]:
    yield client
    sweep(client)


@pytest.mark.parametrize(("test", "arguments"), list(cases()))
def test_on_a_dataset(host: Host, test: Test, arguments: dict[str, str]) -> None:
    try:
        test(host, **arguments)
    except Lacking as reason:
        pytest.skip(str(reason))
