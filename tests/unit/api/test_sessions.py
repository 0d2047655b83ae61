"""Signing in: the one-time link, cookies, pages of other origins, what ends a session and at once what it opened."""

from __future__ import annotations

import contextlib
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from browser import PASSWORD, Browser
from running_api import Running
from skep.settings import Target
from skep.websocket import WebSocket
from skepd.access import sessions, users
from skepd.api import peers
from skepd.api.authorise import Account
from skepd.api.visitor import Visitor


@pytest.fixture
def admin(running: Running) -> Browser:
    running.access.users.create("anna", "admin", PASSWORD)
    browser = Browser(running)
    assert browser.sign_in("anna")[0] == 201
    return browser


def events_of(browser: Browser) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("skep", timeout=60)
    connection.sock = browser.running.connect()
    headers = {"Authorization": "Bearer", "Host": browser.host, "Cookie": browser.cookie}
    connection.request("GET", "/v1/events?after=-1", headers={**headers, "Accept": "text/event-stream"})
    return connection.getresponse()


def link(running: Running) -> str:
    status, _, made = running.request("POST", "/v1/setup/link")
    assert status == 201
    return made["url"].partition("/setup#")[2]


def test_the_first_link_makes_the_administrator_once(running: Running) -> None:
    browser = Browser(running)
    assert browser("GET", "/v1/setup")[2] == {"open": False}
    secret = link(running)
    assert browser("GET", "/v1/setup")[2] == {"open": True}
    body = {"secret": secret, "name": "anna", "password": PASSWORD}
    assert browser("POST", "/v1/setup", {**body, "secret": secret[:-1]})[0] == 401
    assert browser("POST", "/v1/setup", {**body, "password": "short"})[0] == 422
    assert browser("POST", "/v1/setup", {**body, "name": "An na"})[0] == 422
    status, headers, caller = browser("POST", "/v1/setup", body)
    assert (status, caller) == (201, {"name": "anna", "role": "admin", "via": "session"})
    assert headers["cache-control"] == "no-store"
    assert browser("GET", "/v1/users/me")[2] == caller
    assert Browser(running)("POST", "/v1/setup", {**body, "name": "eve"})[0] == 401
    assert browser("GET", "/v1/setup")[2] == {"open": False}


def test_a_link_raced_for_makes_one_account(running: Running) -> None:
    secret = link(running)
    start = threading.Barrier(8)

    def redeem(number: int) -> int:
        start.wait()
        body = {"secret": secret, "name": f"user{number}", "password": PASSWORD}
        return Browser(running, f"192.0.2.{number}")("POST", "/v1/setup", body)[0]

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(redeem, range(8)))
    assert answers == [201, *[401] * 7]
    assert len(running.access.users.all()) == 1


def test_a_link_expires_and_a_newer_one_replaces_it(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    older, newer = link(running), link(running)
    body = {"name": "anna", "password": PASSWORD}
    assert Browser(running)("POST", "/v1/setup", {**body, "secret": older})[0] == 401
    monkeypatch.setattr(users, "LINK_LIFE", -1.0)
    late = link(running)
    assert Browser(running)("POST", "/v1/setup", {**body, "secret": late})[0] == 401
    assert Browser(running)("POST", "/v1/setup", {**body, "secret": newer})[0] == 401
    assert running.access.users.all() == []


def test_links_are_made_on_the_host_only(admin: Browser) -> None:
    token = admin.running.tokens.create("ci", "admin").secret
    assert admin("POST", "/v1/setup/link")[0] == 403
    assert admin.running.request("POST", "/v1/setup/link", Authorization=f"Bearer {token}")[0] == 403


@pytest.mark.parametrize(
    ("scheme", "wanted"),
    [
        ("https", ("__Host-skep", {"Path=/", "HttpOnly", "SameSite=Strict", "Secure"})),
        ("http", ("skep-session", {"Path=/", "HttpOnly", "SameSite=Strict"})),
    ],
)
def test_the_cookie(running: Running, scheme: str, wanted: tuple[str, set[str]]) -> None:
    running.access.users.create("anna", "viewer", PASSWORD)
    browser = Browser(running, scheme=scheme, host="localhost:8080")
    first, *attributes = browser.sign_in("anna")[1]["set-cookie"].split("; ")
    assert (first.split("=")[0], set(attributes)) == wanted
    assert len(first.split("=")[1]) == 43
    assert browser("GET", "/v1/guests")[0] == 200
    other = Browser(running, scheme={"https": "http", "http": "https"}[scheme], host="localhost:8080")
    other.cookie = browser.cookie
    assert other("GET", "/v1/guests")[0] == 401


def test_a_session_is_ended_and_its_cookie_with_it(admin: Browser) -> None:
    second = Browser(admin.running, "2001:db8::1")
    assert second.sign_in("Anna ")[0] == 201
    listed = {one["peer"]: one for one in admin("GET", "/v1/sessions")[2]}
    assert [listed["192.0.2.7"]["current"], listed["2001:db8::1"]["current"]] == [True, False]
    assert admin("DELETE", f"/v1/sessions/{listed['2001:db8::1']['id']}")[0] == 204
    assert second("GET", "/v1/users/me")[0] == 401
    before = admin.cookie
    status, headers, _ = admin("DELETE", "/v1/sessions/current")
    assert (status, headers["set-cookie"]) == (
        204,
        "__Host-skep=; Path=/; HttpOnly; SameSite=Strict; Secure; Max-Age=0",
    )
    admin.cookie = before
    assert admin("GET", "/v1/users/me")[0] == 401
    assert admin("DELETE", "/v1/sessions/current")[0] == 401


def test_others_sessions_are_an_administrators_business(admin: Browser) -> None:
    admin.running.access.users.create("vera", "viewer", PASSWORD)
    viewer = Browser(admin.running)
    viewer.sign_in("vera")
    assert [one["user"] for one in viewer("GET", "/v1/sessions")[2]] == ["vera"]
    assert {one["user"] for one in admin("GET", "/v1/sessions")[2]} == {"anna", "vera"}
    (others,) = [one["id"] for one in admin("GET", "/v1/sessions")[2] if one["user"] == "anna"]
    assert viewer("DELETE", f"/v1/sessions/{others}")[0] == 404
    token = admin.running.tokens.create("anna", "operator").secret  # a name like hers gives nothing of hers
    assert admin.running.request("GET", "/v1/sessions", Authorization=f"Bearer {token}")[2] == []


def test_signing_in_never_goes_on_with_a_session_that_was_there(admin: Browser) -> None:
    """Fixation: whoever put a cookie into this browser does not share what it opens."""
    planted = admin.secret
    assert admin.sign_in("anna")[0] == 201
    assert admin.secret != planted
    thief = Browser(admin.running)
    thief.cookie = f"__Host-skep={planted}"
    assert thief("GET", "/v1/users/me")[0] == 401
    admin.cookie = "__Host-skep=chosen-by-somebody"
    assert admin("GET", "/v1/users/me")[0] == 401
    assert admin.sign_in("anna")[0] == 201
    assert admin.secret != "chosen-by-somebody"


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://hive.example:8443"},
    {"Origin": "https://hive.example"},
    {"Origin": "https://hive.example:8443.evil.example"},
    {"Origin": ""},
    {"X_Skep": "0"},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_a_page_of_another_origin_changes_nothing(admin: Browser, headers: dict[str, str]) -> None:
    assert admin("POST", "/v1/guests/web/actions/stop", {}, **headers)[0] == 403
    assert admin("POST", "/v1/sessions", {"name": "anna", "password": PASSWORD}, **headers)[0] == 403
    assert admin.running.engine.actions == []


@pytest.mark.parametrize("missing", ["Origin", "X-Skep"])
def test_what_a_form_cannot_send_must_be_there(admin: Browser, missing: str) -> None:
    assert admin("POST", "/v1/guests/web/actions/stop", {}, drop=(missing,))[0] == 403
    assert admin("DELETE", "/v1/guests/web", drop=(missing,))[0] == 403
    assert admin("POST", "/v1/sessions", {"name": "anna", "password": PASSWORD}, drop=(missing,))[0] == 403
    assert admin("POST", "/v1/guests/web/actions/stop", {})[0] in (200, 202)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_no_other_site_reads_with_the_cookie(admin: Browser, site: str) -> None:
    """same-site: another port of this host, to which the browser shows the cookie as well."""
    assert admin("GET", "/v1/guests", Sec_Fetch_Site=site)[0] == 403
    assert admin("GET", "/v1/guests", drop=("Sec-Fetch-Site", "Origin", "X-Skep"))[0] == 200


def test_whoever_is_no_gateway_speaks_for_nobody(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user of the host without a role: he can neither choose the address that is held back, nor be silently wrong."""
    monkeypatch.setattr(peers, "peer_uid", lambda sock: 4711)
    running.accounts[4711] = Account("eva", frozenset())
    status, _, problem = Browser(running, scheme="http").sign_in("anna")
    assert (status, problem["hint"]) == (403, "name its user to skepd: --gateway-user NAME")
    running.accounts[4711] = Account("skepgw", frozenset())
    running.authoriser._seen.clear()
    assert Browser(running, scheme="http").sign_in("anna")[0] == 401


def test_what_the_client_says_about_itself_counts_from_the_gateway_only(admin: Browser) -> None:
    assert admin("GET", "/v1/users/me", Cookie=f"{admin.cookie}; {admin.cookie}")[0] == 401  # two: which is whose?
    assert admin("GET", "/v1/users/me", Cookie=f"other=1; {admin.cookie}")[0] == 200
    assert admin("GET", "/v1/users/me", Cookie=f"other=1;{admin.cookie}x")[0] == 401


def test_a_token_decides_alone_also_beside_a_cookie(admin: Browser) -> None:
    viewer = admin.running.tokens.create("ci", "viewer").secret
    assert admin("GET", "/v1/users/me", Authorization=f"Bearer {viewer}")[2]["via"] == "token"
    assert admin("GET", "/v1/users/me", Authorization="Bearer skep-00-wrong")[0] == 401


@pytest.mark.parametrize("word", ["token", "access_token", "session", "authorization"])
def test_no_credential_in_an_address(admin: Browser, word: str) -> None:
    token = admin.running.tokens.create("ci", "admin").secret
    stranger = Browser(admin.running)
    assert stranger("GET", f"/v1/guests?{word}={token}")[0] == 401
    assert stranger("GET", f"/v1/guests?{word}={admin.secret}")[0] == 401
    assert admin("GET", f"/v1/guests?{word}={admin.secret}")[0] == 400


def test_sessions_expire_unused_and_in_any_case(admin: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    (session,) = admin.running.access.sessions.all()
    ended: list[str] = []
    with admin.running.access.endings.watch(session.key, ended.append):
        session.seen -= sessions.IDLE + 1
        assert admin("GET", "/v1/users/me")[0] == 401
        admin.running.access.sessions.sweep()
        admin.running.access.sessions.sweep()
    assert ended == ["the session has expired"]
    assert admin.sign_in("anna")[0] == 201
    (session,) = admin.running.access.sessions.all()
    session.created -= sessions.LONGEST + 1
    assert admin("GET", "/v1/users/me")[0] == 401


def test_roles_count_at_once(admin: Browser) -> None:
    admin.running.access.users.create("otto", "admin", PASSWORD)
    other = Browser(admin.running)
    other.sign_in("otto")
    assert other("PUT", "/v1/guests/new", {})[0] in (200, 202)
    (session,) = admin.running.access.sessions.all("otto")
    told: list[str] = []
    with admin.running.access.endings.watch(session.key, told.append):
        assert admin("PATCH", "/v1/users/otto", {"role": "viewer"})[0] == 200
        assert admin("PATCH", "/v1/users/otto", {"role": "viewer"})[0] == 200
    assert told == ["the role was changed to viewer"]
    assert other("PUT", "/v1/guests/new", {})[0] == 403
    assert other("GET", "/v1/guests")[0] == 200
    assert admin("DELETE", "/v1/users/otto")[0] == 204
    assert other("GET", "/v1/guests")[0] == 401
    admin.running.access.users.create("otto", "admin", PASSWORD)
    assert other("GET", "/v1/guests")[0] == 401  # another otto


def test_what_is_followed_ends_with_the_session(admin: Browser) -> None:
    token = admin.running.tokens.create("ci", "viewer")
    target = Target(socket=str(admin.running.socket), token=token.secret)
    with contextlib.closing(WebSocket(target, "/v1/events", {"after": -1})) as socket:
        assert admin.running.request("DELETE", f"/v1/tokens/{token.id}")[0] == 204
        while socket.receive():
            pass  # until the server closes it
    with contextlib.closing(events_of(admin)) as stream:
        assert stream.readline() == b": skep\n"
        assert admin("DELETE", "/v1/sessions/current")[0] == 204
        while stream.readline():
            pass


def test_a_host_has_many_addresses_of_ipv6() -> None:
    one, two = (Visitor(peer, "https", "h", "") for peer in ("2001:db8::1", "2001:db8::2:0:0:1"))
    assert one.network == two.network == "2001:db8::/64"
    assert Visitor("192.0.2.1", "https", "[::1]:8443", "").page.place == "::1"
    assert Visitor("192.0.2.1", "https", "hive:8443", "").page.place == "hive"
    assert Visitor("192.0.2.1", "https", "hive", "").network == "192.0.2.1"
