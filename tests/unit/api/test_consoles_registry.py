"""Tickets, and who has which console open."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from skepd.api.authorise import Caller
from skepd.api.consoles import tickets as tickets_module
from skepd.api.consoles.door import Proof, load_key
from skepd.api.consoles.registry import SESSION_ENDED, TAKEN_OVER, Console, Registry
from skepd.api.consoles.tickets import LIFE, Grant, Tickets
from skepd.api.problems import ApiError


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def grant(**changes: Any) -> Grant:
    caller = Caller("eva", "operator", "session", "session:1")
    values = {
        "guest": "web",
        "kind": "serial",
        "origin": "https://hive",
        "caller": caller,
        "write": True,
        "take": False,
    }
    return Grant(**{**values, **changes})


def redeem(tickets: Tickets, ticket: str, **changes: str) -> Grant:
    return tickets.redeem(ticket, **{"guest": "web", "kind": "serial", "origin": "https://hive", **changes})


def test_a_ticket_is_good_once() -> None:
    tickets = Tickets(Clock())
    ticket, life = tickets.issue(grant())
    assert life == LIFE
    assert redeem(tickets, ticket) == grant()
    with pytest.raises(ApiError, match="was used"):
        redeem(tickets, ticket)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guest": "db"}, "of another console"),
        ({"kind": "screen"}, "of another console"),
        ({"origin": "https://evil"}, "for another page"),
        ({"origin": ""}, "for another page"),
    ],
)
def test_a_ticket_is_good_for_one_thing_and_tried_once(changes: dict[str, str], words: str) -> None:
    tickets = Tickets(Clock())
    ticket, _ = tickets.issue(grant())
    with pytest.raises(ApiError, match=words) as caught:
        redeem(tickets, ticket, **changes)
    assert caught.value.status == 401
    with pytest.raises(ApiError, match="was used"):
        redeem(tickets, ticket)


def test_a_ticket_expires() -> None:
    clock = Clock()
    tickets = Tickets(clock)
    early, _ = tickets.issue(grant())
    late, _ = tickets.issue(grant())
    clock.now += LIFE - 1
    assert redeem(tickets, early).guest == "web"
    clock.now += 1
    with pytest.raises(ApiError, match="has expired"):
        redeem(tickets, late)


def test_tickets_end_with_their_session_and_are_not_hoarded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    tickets = Tickets(clock)
    mine, _ = tickets.issue(grant())
    other, _ = tickets.issue(grant(caller=Caller("ada", "admin", "session", "session:2")))
    tickets.drop("session:1")
    with pytest.raises(ApiError):
        redeem(tickets, mine)
    assert redeem(tickets, other).caller.name == "ada"
    monkeypatch.setattr(tickets_module, "MOST", 3)
    for _ in range(3):
        tickets.issue(grant())
    with pytest.raises(ApiError, match="too many tickets"):
        tickets.issue(grant())
    clock.now += LIFE
    tickets.issue(grant())


class Holder:
    """Somebody with a console open, and what he is told."""

    def __init__(self, registry: Registry, user: str, *, writes: bool = False, take: bool = False, **more: Any) -> None:
        self.closed: list[tuple[int, str]] = []
        self.told: list[Any] = []
        values = {"guest": "web", "kind": "serial", **more}
        self.console = Console(
            user=user,
            writes=writes,
            take=take,
            close=lambda code, reason: self.closed.append((code, reason)),
            tell=lambda event: self.told.append(event["writer"]),
            **values,
        )
        registry.admit(self.console)


def test_one_types_and_others_are_told_who() -> None:
    registry = Registry()
    first = Holder(registry, "eva", writes=True)
    second = Holder(registry, "ada", writes=True)
    elsewhere = Holder(registry, "ada", writes=True, guest="db")
    assert (first.console.writes, second.console.writes, elsewhere.console.writes) == (True, False, True)
    assert registry.notice(second.console) == {
        "event": "opened", "read_only": True, "reason": "eva types on it", "writer": "eva",
    }  # fmt: skip
    third = Holder(registry, "kim", writes=True, take=True)
    assert first.closed == [(TAKEN_OVER, "kim has taken the keyboard over")]
    assert second.told == ["kim"]
    assert elsewhere.told == third.told == []
    registry.remove(first.console.id)
    assert second.told == ["kim"], "that it is closed was known"
    registry.remove(third.console.id)
    assert second.told == ["kim", None]
    assert [one.user for one in registry.of("web")] == ["ada"]


def test_a_session_that_ends_takes_its_consoles_with_it() -> None:
    registry = Registry()
    mine = Holder(registry, "eva", writes=True, key="session:1")
    screen = Holder(registry, "eva", kind="screen", key="session:1")
    other = Holder(registry, "eva", key="session:2")
    local = Holder(registry, "root", key="")
    assert registry.end("session:1") == 2
    assert mine.closed == screen.closed == [(SESSION_ENDED, "the session has ended")]
    assert registry.end("") == 0
    assert other.closed == local.closed == []
    assert other.told == [None]


def test_consoles_of_before_are_kept_but_for_a_second_writer() -> None:
    registry = Registry()
    writer = Holder(registry, "eva", writes=True)
    late = Holder(Registry(), "ada", writes=True)
    reader = Holder(Registry(), "kim")
    registry.keep(late.console)
    registry.keep(reader.console)
    assert late.closed == [(TAKEN_OVER, "eva has taken the keyboard over")]
    assert {one.user for one in registry.of("web")} == {"eva", "kim"}
    registry.keep(writer.console)
    assert writer.closed == []


def test_a_gateway_that_is_gone_takes_its_consoles_out_of_the_list() -> None:
    registry, gateway = Registry(), object()
    Holder(registry, "eva", writes=True, holder=gateway)
    Holder(registry, "ada")
    registry.forget(gateway)
    assert [one.user for one in registry.of("web")] == ["ada"]


def test_only_what_was_admitted_is_believed_after_a_restart(tmp_path: Path) -> None:
    """A gateway that was taken over can claim nothing, and change nothing of what it was given."""
    console = Holder(Registry(), "eva", guest="web").console
    key = load_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    told = json.loads(json.dumps(Proof(key).describe(console)))
    after = Proof(load_key(tmp_path / "key"))
    assert after.holds(told)
    for changed in ({"guest": "db"}, {"writes": True}, {"key": "session:1"}, {"kind": "screen"}, {"proof": ""}):
        assert not after.holds({**told, **changed})
    assert not Proof(b"another").holds(told)
    assert not after.holds({})
    (tmp_path / "key").write_bytes(b"")
    assert len(load_key(tmp_path / "key")) == 32
