"""Guessing passwords: what it costs, whom it hits, and what it does not tell."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from browser import PASSWORD, Browser
from running_api import Running
from skepd.access import lockout
from skepd.access.errors import LockedOut
from skepd.access.lockout import Lockout, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def guarded(running: Running) -> Running:
    """No time passes in it, however slow the machine is."""
    running.access.users.create("anna", "admin", PASSWORD)
    running.access.lockout = Lockout(Clock())
    running.access.strangers = Rate(burst=60, per_second=2, clock=Clock())
    return running


def test_delays_grow_and_end() -> None:
    clock = Clock()
    held = Lockout(clock)
    delays = []
    for _ in range(20):
        try:
            held.attempt(("user:a",))
        except LockedOut as error:
            delays.append(error.seconds)
            clock.now += error.seconds
            held.attempt(("user:a",))
    assert delays[:4] == [1, 2, 4, 8]
    assert max(delays) == lockout.LONGEST
    clock.now += lockout.LONGEST + lockout.FORGET + 1
    for _ in range(lockout.FREE["user"]):
        held.attempt(("user:a",))


def test_one_password_does_not_pay_for_guessing_another() -> None:
    """An attacker with an account of his own signs in between guesses: his address is held back all the same."""
    clock = Clock()
    held = Lockout(clock)
    for number in range(lockout.FREE["peer"] - 1):
        held.attempt((f"name:{number}", "peer:p"))
        held.attempt(("user:own", "peer:p"))
        held.succeeded(("user:own", "peer:p"))
    held.attempt(("name:last", "peer:p"))
    with pytest.raises(LockedOut):
        held.attempt(("user:own", "peer:p"))
    assert held.remaining("user:own") == 0


def test_a_flood_of_names_neither_fills_memory_nor_frees_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockout, "ENTRIES", 50)
    held = Lockout(Clock())
    for _ in range(lockout.FREE["user"]):
        held.attempt(("user:a",))
    for number in range(1000):
        held.attempt((f"name:{number}", f"peer:{number}"))
    assert held.remaining("user:a") > 0
    assert all(len(entries) <= 50 for entries in held._entries.values())


def test_strangers_have_a_rate() -> None:
    clock = Clock()
    rate = Rate(burst=3, per_second=0.5, clock=clock)
    for _ in range(3):
        rate.take("p")
    with pytest.raises(LockedOut) as caught:
        rate.take("p")
    assert caught.value.seconds == 2
    rate.take("q")
    clock.now += 2
    rate.take("p")


def test_an_account_is_held_back_whoever_asks(guarded: Running) -> None:
    for number in range(lockout.FREE["user"]):
        assert Browser(guarded, f"192.0.2.{number}").sign_in("anna", "wrong password")[0] == 401
    status, headers, problem = Browser(guarded, "192.0.2.99").sign_in("anna")
    assert status == 429
    assert int(headers["retry-after"]) >= 1
    assert "Retry-After" not in problem
    assert guarded.request("GET", "/v1/users/anna")[2]["locked"] > 0


def test_names_that_do_not_exist_are_held_back_alike(guarded: Running) -> None:
    answers = {}
    for name in ("anna", "nobody"):
        answers[name] = [Browser(guarded, f"192.0.2.{n}").sign_in(name, "wrong password") for n in range(7)]
    shown = {name: [(status, problem) for status, _, problem in each] for name, each in answers.items()}
    assert shown["anna"] == shown["nobody"]
    assert [status for status, _ in shown["anna"]] == [401] * 5 + [429] * 2


def test_the_same_work_for_names_that_do_not_exist(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted, not timed."""
    guarded.access.users.create("keyless", "viewer", None)
    done = []
    real = hashlib.scrypt

    def counted(password: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int, dklen: int) -> bytes:
        done.append((n, r, p, dklen, len(salt)))
        return real(password, salt=salt, n=n, r=r, p=p, maxmem=maxmem, dklen=dklen)

    monkeypatch.setattr(hashlib, "scrypt", counted)
    for name in ("anna", "nobody", "keyless"):
        assert Browser(guarded).sign_in(name, "wrong password")[0] == 401
    assert len(done) == 3
    assert len(set(done)) == 1


def test_guesses_made_at_once_count_as_well(guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    real = hashlib.scrypt
    monkeypatch.setattr(hashlib, "scrypt", lambda *a, **k: tried.append(1) or real(*a, **k))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda n: Browser(guarded, f"192.0.2.{n}").sign_in("anna", f"guess {n}")[0], range(12)))
    assert set(answers) <= {401, 429}
    assert len(tried) == answers.count(401) == lockout.FREE["user"]


def test_nobody_locks_an_administrator_out(guarded: Running) -> None:
    """Neither from where he is signed in, nor from the host, nor by a token; and the host's socket opens the rest."""
    anna = Browser(guarded, "192.0.2.1")
    anna.sign_in("anna")
    token = guarded.tokens.create("ci", "admin").secret
    for number in range(10):
        Browser(guarded, f"198.51.100.{number}").sign_in("anna", "wrong password")
    assert Browser(guarded, "198.51.100.77").sign_in("anna")[0] == 429
    assert anna("GET", "/v1/users/me")[0] == 200
    assert anna.sign_in("anna")[0] == 201
    assert guarded.request("GET", "/v1/guests", Authorization=f"Bearer {token}")[0] == 200
    assert guarded.request("PUT", "/v1/users/anna/password", {"password": PASSWORD + "!"})[0] == 204
    assert Browser(guarded, "198.51.100.77").sign_in("anna", PASSWORD + "!")[0] == 201


def test_old_passwords_cannot_be_guessed_by_a_session(guarded: Running) -> None:
    anna = Browser(guarded)
    anna.sign_in("anna")
    guess = lambda n: anna("PUT", "/v1/users/anna/password", {"password": "x" * 12, "old": f"guess {n}"})[0]  # noqa: E731
    assert [guess(n) for n in range(7)] == [403] * 5 + [429] * 2


def test_a_flood_from_one_address_is_cut_short(guarded: Running) -> None:
    browser = Browser(guarded, "203.0.113.9")
    assert [browser("GET", "/v1/setup")[0] for _ in range(62)] == [200] * 60 + [429] * 2
    assert Browser(guarded, "203.0.113.10")("GET", "/v1/setup")[0] == 200


def test_strangers_send_little(guarded: Running) -> None:
    body = {"name": "anna", "password": "x" * (70 << 10)}
    assert Browser(guarded)("POST", "/v1/sessions", body)[0] == 413
