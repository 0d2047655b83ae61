"""For everybody: screen readers (axe), keyboard alone, 360 px to 4K, light and dark, slow lines (the page budget)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from .conftest import SignedIn, password
from .host import Host
from .pages import Guest, Guests, PlanDialog, visit

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import web_build  # noqa: E402

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
FIRST_PAGE = 250_000
PLACES = (
    "/", "/guests", "/guests/new", "/guests/files", "/guests/files/disks", "/guests/files/networks",
    "/guests/files/snapshots", "/guests/files/graphs", "/guests/files/events", "/guests/files/definition",
    "/guests/files/serial", "/guests/files/screen", "/networks", "/images", "/operations", "/plan", "/users",
    "/settings", "/no/such/page",
)  # fmt: skip
SMALL, USUAL, HUGE = (360, 740), (1280, 800), (3840, 2160)


def serious(page: Page) -> list[str]:
    """What axe finds serious or worse, with the elements that it means."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{page.url}: {one['id']}: {one['help']}: {node['html'][:200]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


def settle(page: Page) -> None:
    """The page has what it asked for."""
    expect(page.get_by_role("main")).to_be_visible()
    page.wait_for_load_state("networkidle")
    expect(page.get_by_role("progressbar", name="Loading")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_serious_and_nothing_sticks_out(signed_in: SignedIn, place: str, scheme: str) -> None:
    page = signed_in("admin", scheme=scheme)
    visit(page, place)
    settle(page)
    assert serious(page) == []
    for width, height in (SMALL, HUGE):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) <= 0, f"{place} sticks out at {width} px"
        if width == SMALL[0]:
            assert serious(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_for_strangers(context: Callable[..., BrowserContext], scheme: str) -> None:
    page = context(scheme=scheme).new_page()
    for place in ("/login", "/setup#x", "/setup"):
        visit(page, place)
        settle(page)
        assert serious(page) == []


def test_dialogs_hold_the_keyboard_and_give_it_back(signed_in: SignedIn) -> None:
    page = signed_in("admin")
    guest = Guest(page, "files").open()
    plan = guest.press("Stop")
    plan.steps()
    assert serious(page) == []
    for _ in range(8):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    page.keyboard.press("Escape")
    expect(plan.box).to_be_hidden()
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_focused()


def test_a_guest_is_stopped_and_started_by_keyboard_alone(context: Callable[..., BrowserContext], host: Host) -> None:
    page = context().new_page()
    visit(page, "/login?back=/guests/intranet")
    expect(page.get_by_label("Name")).to_be_focused()
    keys = page.keyboard
    keys.type("operator")
    keys.press("Tab")
    keys.type(password("operator"))
    keys.press("Enter")
    guest = Guest(page, "intranet")
    for button, state in (("Stop", "Stopped"), ("Start", "Running")):
        target = page.get_by_role("button", name=button, exact=True)
        expect(target).to_be_visible()
        reach(page, button)
        keys.press("Enter")
        PlanDialog(page).steps()
        reach(page, "Do it")
        keys.press("Enter")
        expect(page.get_by_role("dialog")).to_be_hidden()
        guest.expect_state(state)


def reach(page: Page, label: str) -> None:
    """Press Tab until a button has the focus."""
    for _ in range(60):
        if page.evaluate("document.activeElement?.textContent?.trim() ?? ''").startswith(label):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{label} cannot be reached by Tab")


def test_the_first_tab_leads_past_the_navigation(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    Guests(page).open()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("main")).to_be_focused()


def test_the_menu_of_a_small_screen(signed_in: SignedIn) -> None:
    page = signed_in("viewer", size=SMALL)
    Guests(page).open()
    page.get_by_role("button", name="Open the menu").click()
    menu = page.get_by_role("dialog", name="Main")
    expect(menu).to_be_visible()
    assert serious(page) == []
    assert menu.get_by_role("link", name="Users").count() == 0, "a viewer has no business there"
    menu.get_by_role("link", name="Operations").click()
    expect(menu).to_be_hidden()
    expect(page).to_have_url("/operations")


def test_the_theme_is_kept(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    Guests(page).open()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("radio", name="Dark").check(force=True)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    page.reload()
    expect(page.get_by_role("table")).to_be_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_the_first_page_is_light() -> None:
    sizes = web_build.first_page()
    assert "index.html" in sizes
    assert sum(sizes.values()) <= FIRST_PAGE, sizes


def test_what_a_browser_loads_for_the_first_pages(context: Callable[..., BrowserContext], signed_in: SignedIn) -> None:
    for page, place in ((context().new_page(), "/login"), (signed_in("admin"), "/")):
        visit(page, place)
        settle(page)
        kinds = "e => e.name.includes('/v1/') ? 0 : e.encodedBodySize"
        entries = "[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]"
        loaded = page.evaluate(f"{entries}.map({kinds}).reduce((sum, one) => sum + one, 0)")
        assert 10_000 < loaded <= FIRST_PAGE
