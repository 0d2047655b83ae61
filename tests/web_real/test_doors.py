"""What must not work: foreign origins, used tickets, roles that are too weak. And what must: signing in by passkey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from web.pages import visit

from .machine import OPERATOR, VIEWER, run, skep
from .pages import sign_in

GUEST, ANOTHER = "gateway", "files"
FETCH = """async ([method, where, body, headers]) => {
    const answer = await fetch(where, {method, body, headers: {"Content-Type": "application/json", ...headers}});
    const text = await answer.text();
    return [answer.status, text ? JSON.parse(text) : null];
}"""
SOCKET = """(where) => new Promise((resolve) => {
    const socket = new WebSocket(where.replace(/^http/, "ws"));
    socket.onopen = () => resolve("opened");
    socket.onerror = () => resolve("refused");
})"""

BLIND_POST = """(where) => {
    const ask = {method: "POST", mode: "no-cors", credentials: "include", body: '{"name": "evil"}'};
    return fetch(where, ask).then(() => "sent", () => "sent");
}"""


@pytest.fixture
def operator(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    sign_in(page, OPERATOR)
    yield page
    page.close()


def fetch(page: Page, method: str, where: str, body: str = "{}", **headers: str) -> tuple[int, Any]:
    status, answer = page.evaluate(FETCH, [method, where, None if method == "GET" else body, headers])
    return status, answer


def ticket(page: Page, guest: str = GUEST) -> str:
    asked = '{"kind": "serial", "write": false, "take": false}'
    status, answer = fetch(page, "POST", f"/v1/guests/{guest}/tickets", asked, **{"X-Skep": "1"})
    assert status == 201, answer
    return str(answer["ticket"])


def address(page: Page, guest: str, used: str) -> str:
    return page.evaluate("location.origin") + f"/v1/guests/{guest}/console?ticket={used}"


def test_a_ticket_opens_one_console_once(operator: Page) -> None:
    used = ticket(operator)
    assert operator.evaluate(SOCKET, address(operator, GUEST, used)) == "opened"
    assert operator.evaluate(SOCKET, address(operator, GUEST, used)) == "refused"


def test_a_ticket_of_another_guest_is_refused(operator: Page) -> None:
    assert operator.evaluate(SOCKET, address(operator, GUEST, ticket(operator, ANOTHER))) == "refused"


def test_a_ticket_expires(operator: Page) -> None:
    late = ticket(operator)
    operator.wait_for_timeout(31_000)
    assert operator.evaluate(SOCKET, address(operator, GUEST, late)) == "refused"


def test_no_ticket_no_console(operator: Page) -> None:
    assert operator.evaluate(SOCKET, operator.evaluate("location.origin") + f"/v1/guests/{GUEST}/console") == "refused"


def test_another_origin_gets_nothing(operator: Page, context: BrowserContext) -> None:
    """A page of another port of this machine: the same site for the cookie, but not the same origin."""
    valid, where = ticket(operator), operator.evaluate("location.origin")
    evil = context.new_page()
    evil.route(
        "https://localhost:9/**", lambda route: route.fulfill(body="<h1>elsewhere</h1>", content_type="text/html")
    )
    evil.goto("https://localhost:9/")
    assert evil.evaluate(SOCKET, f"{where}/v1/guests/{GUEST}/console?ticket={valid}") == "refused"
    assert evil.evaluate(SOCKET, f"{where}/v1/events") == "refused"
    before = _snapshots()
    assert evil.evaluate(BLIND_POST, f"{where}/v1/guests/{GUEST}/snapshots") == "sent"
    assert _snapshots() == before


def _snapshots() -> list[str]:
    return [snapshot["name"] for snapshot in skep("snapshot", "list", GUEST)]


def test_a_cookie_alone_changes_nothing(operator: Page) -> None:
    status, problem = fetch(operator, "POST", f"/v1/guests/{GUEST}/actions/pause")
    assert (status, problem["hint"] != "") == (403, True)


def test_a_viewer_is_shown_no_button_and_refused_by_the_server(context: BrowserContext) -> None:
    page = context.new_page()
    sign_in(page, VIEWER)
    visit(page, f"/guests/{GUEST}")
    expect(page.get_by_role("heading", name=GUEST)).to_be_visible()
    for name in ("Start", "Stop", "Restart", "Delete guest"):
        expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    for method, where in (("POST", "actions/stop"), ("POST", "snapshots"), ("DELETE", "")):
        status, _ = fetch(page, method, f"/v1/guests/{GUEST}/{where}".rstrip("/"), '{"name": "x"}', **{"X-Skep": "1"})
        assert status == 403, f"{method} {where}"


def test_a_passkey_signs_in(operator: Page, context: BrowserContext) -> None:
    """With Chromium's own virtual authenticator."""
    devtools = context.new_cdp_session(operator)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    devtools.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {**options, "isUserVerified": True, "automaticPresenceSimulation": True}},
    )
    visit(operator, "/settings")
    operator.get_by_role("button", name="Add a passkey").click()
    dialog = operator.get_by_role("dialog")
    dialog.get_by_label("What you call it").fill("test key")
    dialog.get_by_role("button", name="Add a passkey").click()
    expect(operator.get_by_text("test key")).to_be_visible()
    operator.get_by_role("button", name="Sign out").first.click()
    visit(operator, "/login")
    operator.get_by_role("button", name="Sign in with a passkey").click()
    expect(operator.get_by_role("navigation", name="Main")).to_be_attached()


def test_an_ended_session_closes_its_console(operator: Page) -> None:
    visit(operator, f"/guests/{GUEST}/serial")
    expect(operator.get_by_text("Connected", exact=True)).to_be_visible()
    for one in skep("user", "sessions"):
        if one["user"] == OPERATOR:
            run("user", "sign-out", one["id"])
    expect(operator.get_by_text("Your session has ended")).to_be_visible()
    expect(operator.get_by_role("heading", name="Sign in")).to_be_visible()
