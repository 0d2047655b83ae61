"""Accounts: who may change what, passwords, and what is stored of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser import PASSWORD, Browser
from running_api import Running
from skepd.access import passwords
from skepd.access.access import FRESH, Access
from skepd.access.errors import Denied, Unfit
from skepd.access.users import UserStore


@pytest.fixture
def admin(running: Running) -> Browser:
    running.access.users.create("anna", "admin", PASSWORD)
    browser = Browser(running)
    browser.sign_in("anna")
    return browser


def signed_in(running: Running, name: str, role: str = "viewer") -> Browser:
    running.access.users.create(name, role, PASSWORD)
    browser = Browser(running)
    assert browser.sign_in(name)[0] == 201
    return browser


def test_accounts_are_made_listed_changed_and_deleted(admin: Browser) -> None:
    status, headers, made = admin("POST", "/v1/users", {"name": "vera", "role": "viewer", "password": PASSWORD})
    assert (status, headers["location"]) == (201, "/v1/users/vera")
    assert made["name"] == "vera"
    assert (made["password"], made["locked"], made["passkeys"]) == (True, 0.0, [])
    assert admin("GET", "/v1/users/vera")[2] == made
    assert [one["name"] for one in admin("GET", "/v1/users")[2]] == ["anna", "vera"]
    assert admin("POST", "/v1/users", {"name": "vera", "role": "admin"})[0] == 409
    assert admin("PATCH", "/v1/users/vera", {"role": "operator"})[2]["role"] == "operator"
    assert admin("DELETE", "/v1/users/vera")[0] == 204
    for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"role": "admin"})):
        assert admin(method, "/v1/users/vera", body)[0] == 404


@pytest.mark.parametrize("name", ["me", "Anna", "a b", "", "-a", "ä", "a/b", "a" * 65])
def test_names_that_are_none(admin: Browser, name: str) -> None:
    assert admin("POST", "/v1/users", {"name": name, "role": "viewer"})[0] in (400, 422)


def test_the_last_administrator_stays(admin: Browser) -> None:
    running = admin.running
    for call in (admin, running.request):
        assert call("DELETE", "/v1/users/anna")[0] == 409
        assert call("PATCH", "/v1/users/anna", {"role": "operator"})[0] == 409
    running.access.users.create("otto", "admin", PASSWORD)
    assert admin("PATCH", "/v1/users/anna", {"role": "viewer"})[0] == 200
    assert running.request("DELETE", "/v1/users/otto")[0] == 409


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_who_is_no_administrator_has_himself_only(admin: Browser, role: str) -> None:
    other = signed_in(admin.running, "otto", role)
    assert other("GET", "/v1/users/otto")[0] == 200
    calls = [
        ("GET", "/v1/users", None),
        ("GET", "/v1/users/anna", None),
        ("POST", "/v1/users", {"name": "eve", "role": "admin"}),
        ("PATCH", "/v1/users/otto", {"role": "admin"}),
        ("DELETE", "/v1/users/anna", None),
        ("PUT", "/v1/users/anna/password", {"password": "x" * 12}),
        ("GET", "/v1/audit", None),
        ("POST", "/v1/setup/link", None),
    ]
    assert [other(*call)[0] for call in calls] == [403] * len(calls)
    token = admin.running.tokens.create("anna", "operator").secret  # a name alone is nobody
    bearer = {"Authorization": f"Bearer {token}"}
    assert admin.running.request("PUT", "/v1/users/anna/password", {"password": "x" * 12}, **bearer)[0] == 403
    assert admin.running.request("GET", "/v1/users/anna", **bearer)[0] == 403


def test_ones_own_password_needs_the_old_one_and_ends_other_sessions(admin: Browser) -> None:
    elsewhere = Browser(admin.running)
    elsewhere.sign_in("anna")
    new = "another sentence of hers"
    assert admin("PUT", "/v1/users/anna/password", {"password": new})[0] == 403
    assert admin("PUT", "/v1/users/anna/password", {"password": new, "old": "wrong"})[0] == 403
    assert admin("PUT", "/v1/users/anna/password", {"password": "short", "old": PASSWORD})[0] == 422
    assert elsewhere("GET", "/v1/users/me")[0] == 200
    assert admin("PUT", "/v1/users/anna/password", {"password": new, "old": PASSWORD})[0] == 204
    assert admin("GET", "/v1/users/me")[0] == 200
    assert elsewhere("GET", "/v1/users/me")[0] == 401
    assert elsewhere.sign_in("anna")[0] == 401
    assert elsewhere.sign_in("anna", new)[0] == 201


def test_an_administrator_sets_the_password_of_others(admin: Browser) -> None:
    other = signed_in(admin.running, "otto")
    assert admin("PUT", "/v1/users/otto/password", {"password": "set by anna for him"})[0] == 204
    assert other("GET", "/v1/users/me")[0] == 401
    assert other.sign_in("otto", "set by anna for him")[0] == 201


def test_a_first_password_needs_a_session_that_has_just_begun(admin: Browser) -> None:
    access = admin.running.access
    otto = access.users.create("otto", "viewer", None)
    entry = access.enter(otto, "192.0.2.7", "")
    browser = Browser(admin.running)
    browser.cookie = f"__Host-skep={entry.secret}"
    entry.session.created -= FRESH + 1
    assert browser("PUT", "/v1/users/otto/password", {"password": PASSWORD})[0] == 403
    entry.session.created += FRESH
    assert browser("PUT", "/v1/users/otto/password", {"password": PASSWORD})[0] == 204


@pytest.mark.parametrize("meanwhile", ["password", "removal", "another of that name"])
def test_a_sign_in_does_not_outlive_what_happens_while_it_is_checked(
    monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    access = Access()
    access.users.create("otto", "admin", PASSWORD)
    access.users.create("anna", "admin", PASSWORD)
    compare = passwords.matches

    def matches(password: str, stored: passwords.Password | None) -> bool:
        right = compare(password, stored)
        if meanwhile == "password":
            access.set_password("anna", "another sentence of hers")
        else:
            access.remove("anna")
        if meanwhile == "another of that name":
            access.users.create("anna", "admin", PASSWORD)
        return right

    monkeypatch.setattr(passwords, "matches", matches)
    with pytest.raises(Denied):
        access.sign_in("anna", PASSWORD, "p", "p", "agent")
    assert access.sessions.all() == []


def test_passwords_are_long_or_refused_and_spelled_in_one_way() -> None:
    with pytest.raises(Unfit, match="has 9 characters; take at least 10"):
        passwords.hide("123456789")
    composed, decomposed = "caf\u00e9 au lait", "cafe\u0301 au lait"
    assert composed != decomposed
    assert passwords.matches(decomposed, passwords.hide(composed))
    assert not passwords.matches("", None)
    assert passwords.hide(PASSWORD).salt != passwords.hide(PASSWORD).salt


def test_a_digest_of_another_cost_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = passwords.hide(PASSWORD)
    monkeypatch.setattr(passwords, "COST", passwords.Cost(n=32, r=8, p=2))
    assert passwords.matches(PASSWORD, stored)
    assert passwords.hide(PASSWORD).cost != stored.cost


def test_the_cost_that_ships_is_the_one_that_is_said() -> None:
    assert passwords.Cost() == passwords.Cost(n=1 << 15, r=8, p=3)


def test_files_outlive_the_process_and_hold_digests_only(tmp_path: Path) -> None:
    first = Access(tmp_path)
    secret, _ = first.users.new_link()
    entry = first.set_up(secret, "anna", PASSWORD, "p", "p", "agent")
    pending, _ = first.users.new_link()
    first.close()
    for path in (tmp_path / "users.json", tmp_path / "sessions.sqlite"):
        assert path.stat().st_mode & 0o777 == 0o600
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for word in (PASSWORD, secret, pending, entry.secret):
        assert word.encode() not in everything
    second = Access(tmp_path)
    held = second.holder(entry.secret)
    assert held is not None
    assert held[0].role == "admin"
    second.sessions.end([held[1]], "")
    second.close()
    third = Access(tmp_path)
    assert third.holder(entry.secret) is None
    assert third.users.link_open()
    third.close()


def test_sessions_may_be_lost(tmp_path: Path) -> None:
    (tmp_path / "sessions.sqlite").write_bytes(b"not a data base, but something that a disk made of one" * 100)
    access = Access(tmp_path)
    user = access.users.create("anna", "admin", PASSWORD)
    entry = access.enter(user, "p", "agent")
    assert access.holder(entry.secret) is not None
    access.close()


def test_a_file_of_users_that_is_damaged_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    for text in ("", "{", '{"users": [{"name": "anna"}]}', '{"users": [], "more": 1}'):
        (tmp_path / "users.json").write_text(text)
        with pytest.raises(ValueError, match=r"users\.json: not a file of users"):
            UserStore(tmp_path / "users.json")


def test_an_account_that_cannot_be_written_is_not_there(tmp_path: Path) -> None:
    store = UserStore(tmp_path / "gone" / "users.json")
    with pytest.raises(OSError, match="gone"):
        store.create("anna", "admin", PASSWORD)
    assert store.all() == []
    store = UserStore(tmp_path / "users.json")
    store.create("anna", "admin", PASSWORD)
    assert [user["name"] for user in json.loads((tmp_path / "users.json").read_text())["users"]] == ["anna"]
