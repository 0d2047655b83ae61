"""`skep user` and `skep audit`: what the person at the host's own keyboard does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_lab import Cli
from skepd.access import passwords

PASSWORD = "a sentence that nobody guesses"


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", passwords.Cost(n=16, r=8, p=1))


def accepts(skep: Cli, name: str, password: str) -> bool:
    return passwords.matches(password, skep.api.access.users.get(name).password)


def test_accounts(skep: Cli) -> None:
    done = skep("user", "create", "anna", "--role", "admin", "--stdin", stdin=PASSWORD + "\n")
    assert (done.code, done.out, done.err) == (0, "", "created: anna (admin)\n")
    assert accepts(skep, "anna", PASSWORD)
    assert skep("user", "create", "otto", "--no-password").code == 0
    assert skep("user", "role", "otto", "operator").code == 0
    assert [(one["name"], one["role"]) for one in json.loads(skep("user", "list", "--json").out)] == [
        ("anna", "admin"),
        ("otto", "operator"),
    ]
    assert "otto" in skep("user", "list").out
    assert skep("user", "password", "otto", "--stdin", stdin="otto's own sentence\n").code == 0
    assert accepts(skep, "otto", "otto's own sentence")
    assert skep("user", "delete", "otto", "--yes").code == 0
    done = skep("user", "delete", "anna", "--yes")
    assert (done.code, done.err) == (73, "skep: anna is the last administrator; make another one first\n")
    assert skep("user", "role", "nobody", "admin").code == 66


def test_a_password_is_typed_twice_and_never_an_argument(skep: Cli) -> None:
    with skep.terminal("user", "create", "anna") as terminal:
        terminal.expect("Password of anna: ")
        terminal.type(PASSWORD + "\n")
        terminal.expect("Repeat for confirmation: ")
        terminal.type(PASSWORD + "\n")
        terminal.expect("created: anna (viewer)")
        assert terminal.end() == 0
        assert PASSWORD not in terminal.text
    assert accepts(skep, "anna", PASSWORD)
    assert skep("user", "password", "anna", PASSWORD).code == 64
    done = skep("user", "password", "anna")
    assert "nobody is there to type a password; give it by --stdin" in done.err
    assert "there was no password" in skep("user", "password", "anna", "--stdin").err
    done = skep("user", "password", "anna", "--stdin", stdin="short\n")
    assert (done.code, "take at least 10" in done.err) == (65, True)


def test_the_link_of_the_host(skep: Cli) -> None:
    done = skep("user", "link")
    page, _, secret = done.out.strip().partition("/setup#")
    assert page == "https://localhost:8443"
    assert secret not in done.err
    assert skep.api.access.users.redeem(secret, "anna", PASSWORD).role == "admin"
    assert json.loads(skep("user", "link", "--json").out)["url"].startswith(page)


def test_sessions_and_audit(skep: Cli, tmp_path: Path) -> None:
    access = skep.api.access
    user = access.users.create("anna", "admin", PASSWORD)
    entry = access.enter(user, "192.0.2.7", "Firefox\x1b[2J")
    listed = skep("user", "sessions").out
    assert "192.0.2.7" in listed
    assert "\x1b" not in listed
    assert skep("user", "sign-out", entry.session.id).code == 0
    assert access.holder(entry.secret) is None
    assert skep("user", "sign-out", "current").code == 66
    (record,) = [one for one in json.loads(skep("audit", "--json").out) if one["outcome"] == "done"]
    assert (record["via"], record["ref"]) == ("socket", f"sessions/{entry.session.id}")
    assert "End a session" in skep("audit", "--limit", "5").out
