"""The audit log: who changed what, and never a secret."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import PASSWORD, Browser
from running_api import Running
from skepd.access import audit
from skepd.access.audit import Audit
from skepd.api.route import Route
from skepd.api.routes import ROUTES


def write(log: Audit, who: str = "anna", *, proven: bool = True, **more: str) -> None:
    words = {"via": "session", "peer": "p", "action": "Start a guest", "ref": "guests/web", "outcome": "done"}
    log.write(who=who, proven=proven, **{**words, **more})


def test_every_change_and_every_refusal_is_in_it(running: Running) -> None:
    running.access.users.create("anna", "admin", PASSWORD)
    running.access.users.create("vera", "viewer", PASSWORD)
    anna, vera = Browser(running), Browser(running, "192.0.2.8")
    anna.sign_in("anna")
    vera.sign_in("vera", "wrong password")
    vera.sign_in("vera")
    anna("POST", "/v1/guests/web/actions/stop", {})
    vera("DELETE", "/v1/guests/web")
    anna("GET", "/v1/guests")
    vera("POST", "/v1/guests/web/actions/stop", {}, Origin="https://evil.example")
    running.request("POST", "/v1/tokens", {"name": "ci", "role": "viewer"})
    anna("PUT", "/v1/guests/new", {"memory": "x"})
    shown = lambda one: (*(one[key] for key in ("who", "via", "peer", "action")), one["ref"].split("/")[0])  # noqa: E731
    records = list(reversed(anna("GET", "/v1/audit")[2]))
    found = [(*shown(one), one["outcome"].rstrip("0123456789")) for one in records]
    host = running.request("GET", "/v1/users/me")[2]["name"]
    assert found == [
        ("anna", "password", "192.0.2.7", "Sign in", "sessions", "done"),
        ("vera", "password", "192.0.2.8", "Sign in", "sessions", "refused (401)"),
        ("vera", "password", "192.0.2.8", "Sign in", "sessions", "done"),
        ("anna", "session", "192.0.2.7", "Stop a guest in an orderly way", "guests", "operation op"),
        ("vera", "session", "192.0.2.8", "Delete a guest", "guests", "refused (403)"),
        ("", "", "192.0.2.8", "Stop a guest in an orderly way", "guests", "refused (403)"),
        (host, "socket", found[6][2], "Make an API token; its secret is shown this once", "tokens", "done"),
        ("anna", "session", "192.0.2.7", "Define or change a guest and carry it out", "guests", "refused (400)"),
    ]


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """What skepd would log. (pytest's own capture also listens to uvicorn's access log, which skepd switches off.)"""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def test_no_secret_gets_into_audit_or_log(running: Running, logged: io.StringIO) -> None:
    logging.getLogger("skepd.test").info("it is listened to")
    made = running.request("POST", "/v1/setup/link")[2]
    secret = made["url"].partition("#")[2]
    browser = Browser(running)
    wrong, typed = "a wrong password of somebody", "my password in the wrong field"
    browser("POST", "/v1/setup", {"secret": secret, "name": "anna", "password": PASSWORD})
    browser.sign_in("anna", wrong)
    browser.sign_in(typed, wrong)
    browser("POST", f"/v1/guests/web/actions/stop?wait=0&token={browser.secret}", {})
    browser("PUT", "/v1/users/anna/password", {"password": wrong + " new", "old": PASSWORD, wrong: 1})
    browser("PUT", "/v1/users/anna/password", {"password": wrong + " new", "old": PASSWORD})
    token = browser("POST", "/v1/tokens", {"name": "ci", "role": "viewer"})[2]["secret"]
    folder = running.socket.parent
    texts = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert b"Sign in" in texts["audit.jsonl"]
    texts["log"] = logged.getvalue().encode()
    assert b"it is listened to" in texts["log"]
    for name, text in texts.items():
        for word in (secret, PASSWORD, wrong, typed, browser.secret, token.split("-", 2)[2]):
            assert word.encode() not in text, (name, word)


def test_numbers_go_on_pages_too_and_files_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "FULL", 1000)
    monkeypatch.setattr(audit, "KEEP", 4)
    for _ in range(3):
        log = Audit(tmp_path)
        for number in range(10):
            write(log, ref=f"guests/{number}")
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl", "audit.jsonl"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())
    pages, before = [], 0
    while page := Audit(tmp_path).read(before, 4):
        pages += [record.number for record in page]
        before = page[-1].number
    assert pages == list(range(30, 30 - len(pages), -1))
    assert len(pages) > 15


def test_long_files_are_read_from_their_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_BLOCK", 64)
    log = Audit(tmp_path)
    for number in range(50):
        write(log, ref="guests/" + "x" * number)
    assert [record.number for record in log.read(0, 1000)] == list(range(50, 0, -1))


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    log = Audit(tmp_path)
    write(log)
    write(log)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    log = Audit(tmp_path)
    write(log, who="otto")
    assert [(record.number, record.who) for record in log.read(0, 10)] == [(2, "otto"), (1, "anna")]


def test_strangers_cannot_push_out_what_users_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    log = Audit(tmp_path, lambda: now[0])
    for number in range(1000):
        write(log, who=("", "anna")[number % 2], proven=False)  # a name that was only said is a stranger's
    write(log, who="otto")
    now[0] += 60
    write(log, who="", proven=False)
    who = [record.who for record in log.read(0, 1000)]
    assert who == ["", "otto", *["anna", ""] * (audit.STRANGERS // 2)]


def test_who_knows_a_name_only_fills_no_more_of_it_than_strangers(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STRANGERS", 3)
    running.access.users.create("anna", "admin", PASSWORD)
    for number in range(10):
        Browser(running, f"192.0.2.{number}").sign_in("anna", "wrong password")
    running.access.set_password("anna", PASSWORD)  # which lifts the delay
    Browser(running).sign_in("anna")
    found = [(one.who, one.outcome) for one in running.access.audit.read(0, 100)]
    assert found[0] == ("anna", "done")
    assert 3 <= len(found) - 1 <= 6, "of one minute, or of two"
    assert {one.partition(" ")[0] for _, one in found[1:]} == {"refused"}
    assert {who for who, _ in found} == {"anna"}


@pytest.mark.parametrize("route", [route for route in ROUTES if route.changes], ids=lambda one: one.method + one.path)
def test_every_route_that_changes_something_writes_one_record(running: Running, route: Route) -> None:
    token = running.tokens.create("ci", "viewer").secret
    path = re.sub(r"{\w+}", "web", route.path)
    status = running.request(route.method, path, {}, Authorization=f"Bearer {token}")[0]
    (record,) = running.access.audit.read(0, 10)
    assert record.action == route.summary.rstrip(".")
    assert record.outcome == ("done" if status < 300 else f"refused ({status})")
    assert record.who == ("" if route.role is None else "ci")


def test_a_stream_that_is_received_is_in_it(running: Running) -> None:
    path = "/v1/guests/moved/replica/first?disk=root&disks=root&frozen=false"
    assert running.request("PUT", path, b"a stream")[0] == 204
    assert running.request("PUT", path)[0] == 400
    assert [one.outcome for one in running.access.audit.read(0, 10)] == ["refused (400)", "done"]
    assert {one.ref for one in running.access.audit.read(0, 10)} == {"guests/moved/replica/first"}


def test_a_full_disk_does_not_refuse_a_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Audit(tmp_path / "audit")
    (tmp_path / "audit").rmdir()
    write(log)
    assert "the audit log cannot be written" in caplog.text
    assert log.read(0, 10) == []


def test_a_plan_is_no_deed(running: Running) -> None:
    running.access.users.create("anna", "admin", PASSWORD)
    anna = Browser(running)
    anna.sign_in("anna")
    before = anna("GET", "/v1/audit")[2]
    assert anna("POST", "/v1/guests/web/actions/stop?dry_run=true", {})[0] == 200
    assert anna("GET", "/v1/audit")[2] == before
    assert anna("POST", "/v1/guests/web/actions/stop", {})[0] == 200
    assert len(anna("GET", "/v1/audit")[2]) == len(before) + 1
