"""Seeds: one request of a guest at a time, and nothing of a killed one stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.storage import seed
from skep_helper.vocabulary import WriteSeed
from storage_lab import Lab

pytestmark = pytest.mark.real


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path)
    made.guest("g")
    return made


def of(user_data: str) -> WriteSeed:
    return WriteSeed(guest="g", user_data=user_data, meta_data="instance-id: g\n", network_config="")


def impatient(lab: Lab, request: WriteSeed) -> None:
    """Carry it out as a job that is cancelled as soon as it must wait."""

    def cancelled(done: int, total: int) -> None:
        raise Failure("cancelled", "cancelled")

    storage.HANDLERS[WriteSeed](Context(policy=lab.policy, peer_uid=0, progress=cancelled), request)


def test_two_requests_do_not_mix_their_files(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = seed.run, []

    def slow(argv: list[str], *rest: Any) -> Any:
        """Meanwhile another one comes."""
        monkeypatch.setattr(seed, "run", real)
        with pytest.raises(Failure) as refused:
            impatient(lab, of("second"))
        seen.append((refused.value.code, (Path(argv[-1]) / "user-data").read_text()))
        return real(argv, *rest)

    monkeypatch.setattr(seed, "run", slow)
    lab.ask(of("first"))
    assert seen == [("cancelled", "first")]
    assert b"first" in (lab.pool / "guests/g/seed.iso").read_bytes()
    lab.ask(of("second"))
    assert b"second" in (lab.pool / "guests/g/seed.iso").read_bytes()
    assert lab.folder("g").seed_digest == seed._digest(of("second"))


def test_nothing_stays_of_a_request_that_was_killed(lab: Lab) -> None:
    pid = os.fork()
    if pid == 0:
        seed.run = lambda *_: os._exit(0)  # type: ignore[assignment, return-value]
        storage.HANDLERS[WriteSeed](Context(policy=lab.policy, peer_uid=0), of("secret"))
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
    assert [name for name in os.listdir(lab.policy.run) if "seed" in name], "it was killed in between"
    lab.ask(of("other"))
    assert [name for name in os.listdir(lab.policy.run) if "seed" in name] == []
    left = {name for name in os.listdir(lab.pool / "guests/g") if name.startswith(".")}
    assert left == set()
