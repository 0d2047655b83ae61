"""A console of a guard of before there were offsets: where its line begins is found out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from skep_helper.guard import client, requests
from skep_helper.guard.history import History
from skep_helper.handlers import Context, Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary.guest import OpenConsole


class OldGuard:
    """Answers without an offset; says something meanwhile, so many times."""

    def __init__(self, history: History, talks: int) -> None:
        self._history, self._talks = history, talks
        self.asked: list[dict[str, Any]] = []

    def ask(self, policy: Policy, guest: str, message: dict[str, Any]) -> tuple[dict[str, Any], int]:
        self.asked.append(dict(message))
        if len(self.asked) <= self._talks:
            self._history.append(b"talk ")
        return {"state": {}}, os.open(os.devnull, os.O_RDONLY)


class Home:
    """A guest's folder, whoever owns the ones it lies in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exists(self, name: str) -> bool:
        return (self._path / name).exists()

    def folder(self, name: str) -> Any:
        return open(os.devnull)

    def shown(self, name: str = "") -> str:
        return str(self._path / name)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Policy, History]]:
    serial = tmp_path / "pool" / "guests" / "old" / "serial"
    serial.mkdir(parents=True)
    history = History(str(serial))
    history.append(b"0123456789")
    yield Policy(pool=tmp_path / "pool", run=tmp_path / "run"), history
    history.close()


def opened(policy: Policy) -> tuple[Context, Any]:
    @contextmanager
    def home_of(policy: Policy, guest: str) -> Iterator[Any]:
        yield Home(policy.pool / "guests" / guest)

    context = Context(policy=policy, peer_uid=0)
    return context, requests.console_opener(home_of)(context, OpenConsole(guest="old", offset=3))


def test_where_its_line_begins_is_found_out(place: tuple[Policy, History], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, history = place
    guard = OldGuard(history, 3)
    monkeypatch.setattr(client, "ask_descriptor", guard.ask)
    before = len(os.listdir("/proc/self/fd"))
    context, answer = opened(policy)
    assert answer == {"offset": 25}
    assert len(context.answer_descriptors) == 1
    assert len(os.listdir("/proc/self/fd")) == before + 1, "what was opened in vain is closed"
    assert [message["take"] for message in guard.asked] == [False, True, True, True]
    os.close(context.answer_descriptors[0])


def test_one_that_never_falls_silent_is_refused(place: tuple[Policy, History], monkeypatch: pytest.MonkeyPatch) -> None:
    policy, history = place
    monkeypatch.setattr(client, "ask_descriptor", OldGuard(history, 1000).ask)
    with pytest.raises(Failure, match="says too much"):
        opened(policy)
