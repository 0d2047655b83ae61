"""Getting in: the first link, name and password, what a stranger sees, and the way out."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import SIZE, password
from .host import Host
from .pages import SignIn, visit
from .watching import Watch

Contexts = Callable[..., BrowserContext]


def test_a_stranger_is_sent_to_the_sign_in_page_and_comes_back(context: Contexts) -> None:
    page = context().new_page()
    visit(page, "/guests/files/disks")
    expect(page).to_have_url("/login?back=%2Fguests%2Ffiles%2Fdisks")
    SignIn(page).enter("viewer", password("viewer"))
    expect(page.get_by_role("heading", name="files", level=1)).to_be_visible()
    expect(page).to_have_url("/guests/files/disks")


def test_a_wrong_password_says_so_and_not_which_part_was_wrong(context: Contexts) -> None:
    page = context().new_page()
    for name in ("viewer", "nobody-of-this-name"):
        SignIn(page).open().enter(name, "not the password of anybody")
        expect(page.get_by_role("alert")).to_have_text("Name or password is wrong.")
        expect(page.get_by_label("Password")).to_have_value("")


@pytest.mark.parametrize(
    "back", ["https://example.org/", "//example.org/", "/\\example.org", "/\t/example.org", "/.//example.org", "//["]
)
def test_the_way_back_leads_nowhere_else(context: Contexts, host: Host, back: str) -> None:
    page = context().new_page()
    visit(page, "/login")
    page.evaluate("back => history.replaceState(null, '', '/login?back=' + encodeURIComponent(back))", back)
    page.reload()
    SignIn(page).enter("viewer", password("viewer"))
    expect(page.get_by_role("navigation", name="Main").first).to_be_visible()
    assert page.evaluate("location.origin") == host.url


def test_signing_out_ends_the_session(signed_in: Callable[..., Page]) -> None:
    page = signed_in("operator", own=True)
    visit(page, "/guests")
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url("/login")
    assert page.request.get("/v1/users/me").status == 401
    visit(page, "/guests")
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_session_that_was_ended_elsewhere_is_told_so(signed_in: Callable[..., Page], host: Host) -> None:
    page = signed_in("operator", own=True)
    visit(page, "/guests")
    expect(page.get_by_role("table")).to_be_visible()
    for session in host.client.call("GET", "/v1/sessions"):
        if session["user"] == "operator":
            host.client.call("DELETE", f"/v1/sessions/{session['id']}")
    host.cookies.pop("operator", None)
    expect(page.get_by_text("Your session has ended.")).to_be_visible(timeout=30_000)
    expect(page).to_have_url("/login?back=%2Fguests")


@pytest.fixture
def fresh(browser: Browser, watch: Watch) -> Iterator[tuple[Host, Page, str]]:
    """A host that nobody has an account on, and the first link."""
    with Host() as host:
        context = browser.new_context(base_url=host.url, viewport={"width": SIZE[0], "height": SIZE[1]})
        watch.over(context, host.url)
        link = host.client.call("POST", "/v1/setup/link")["url"]
        yield host, context.new_page(), link.partition("#")[2]
        context.close()


def test_the_first_link_makes_the_administrator_once(fresh: tuple[Host, Page, str]) -> None:
    host, page, secret = fresh
    visit(page, f"/setup#{secret}")
    page.get_by_label("Password", exact=True).fill("too short")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_text("shorter than 12")).to_be_visible()
    assert secret not in page.url
    page.get_by_label("Password", exact=True).fill("a sentence nobody else knows")
    page.get_by_label("Password again").fill("a sentence nobody else knows")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("navigation", name="Main").first).to_be_visible()
    assert page.request.get("/v1/users/me").json()["role"] == "admin"
    visit(page, f"/setup#{secret}")
    expect(page.get_by_text("This link was used already")).to_be_visible()
    assert [user["name"] for user in host.client.call("GET", "/v1/users")] == ["admin"]
