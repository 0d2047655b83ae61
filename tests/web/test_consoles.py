"""Consoles in the page: serial line and screen, one who types and others who watch, and every way to lose them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .pages import Guest, Screen, Serial

LINE_FEED = "Control+j"
"""Ends a line: the simulated guest echoes what it gets, and after a mere return the next line would cover this one."""


@pytest.fixture
def talker(host: Host) -> Iterator[str]:
    """A guest whose lines nobody else looks at."""
    body = {"guests": [{"name": "talker", "disks": [{"name": "root", "image": "debian"}]}]}
    ended = host.client.call("POST", "/v1/definitions", body, wait=60)
    assert ended["state"] == "done", ended
    yield "talker"
    host.client.call("DELETE", "/v1/guests/talker", wait=60)


def test_what_is_typed_comes_back_and_history_is_there_on_opening(signed_in: SignedIn, talker: str) -> None:
    serial = Serial(signed_in("operator"), talker).open()
    serial.expect_text("talker starts", times=1)
    serial.type("wood-anemone", LINE_FEED)
    serial.expect_text("wood-anemone", times=1)
    later = Serial(signed_in("viewer"), talker).open()
    later.expect_text("talker starts", times=1)
    later.expect_text("wood-anemone", times=1)


def test_one_types_others_watch_and_taking_over_is_told(signed_in: SignedIn, talker: str) -> None:
    first = Serial(signed_in("admin"), talker).open()
    expect(first.page.get_by_text("You type")).to_be_visible()
    second = Serial(signed_in("operator"), talker).open()
    expect(second.page.get_by_text("admin types; you watch")).to_be_visible()
    second.type("not heard", LINE_FEED)
    first.type("heard-one", LINE_FEED)
    second.expect_text("heard-one", times=1)
    second.page.get_by_role("button", name="Take the keyboard").click()
    expect(second.page.get_by_text("You type")).to_be_visible()
    expect(first.page.get_by_text("operator has taken the keyboard.")).to_be_visible()
    expect(first.page.get_by_text("operator types; you watch")).to_be_visible()
    second.type("heard-two", LINE_FEED)
    first.expect_text("heard-two", times=1)
    first.expect_text("heard-one", times=1)
    assert "not heard" not in first.terminal.inner_text()


def test_a_viewer_watches_and_cannot_type(signed_in: SignedIn, talker: str) -> None:
    serial = Serial(signed_in("viewer"), talker).open()
    expect(serial.page.get_by_text("You watch")).to_be_visible()
    assert serial.page.get_by_role("button", name="Take the keyboard").count() == 0
    serial.type("nobody hears this", LINE_FEED)
    writer = Serial(signed_in("operator"), talker).open()
    writer.type("end-of-test", LINE_FEED)
    serial.expect_text("end-of-test", times=1)
    assert "nobody hears this" not in serial.terminal.inner_text()


def test_the_gateway_goes_and_comes_back(signed_in: SignedIn, talker: str, host: Host) -> None:
    serial = Serial(signed_in("operator"), talker).open()
    serial.type("before-it", LINE_FEED)
    serial.expect_text("before-it", times=1)
    host.kill("gateway")
    try:
        expect(serial.page.get_by_text("The line to this host is down.")).to_be_visible()
        expect(serial.page.get_by_text("Trying again in")).to_be_visible()
    finally:
        host.start_gateway()
    expect(serial.page.get_by_text("Connected again; nothing was lost.")).to_be_visible()
    expect(serial.page.get_by_text("The line to this host is down.")).to_be_hidden()
    serial.type("after-it", LINE_FEED)
    serial.expect_text("after-it", times=1)
    serial.expect_text("before-it", times=1)


def test_the_guest_stops_and_is_started_from_its_console(signed_in: SignedIn, talker: str, host: Host) -> None:
    serial = Serial(signed_in("operator"), talker).open()
    host.fault("off", talker)
    expect(serial.page.get_by_text("The guest has stopped.")).to_be_visible()
    serial.guest.press("Start").apply()
    serial.expect_connected()
    serial.expect_text("talker starts", times=2)


def test_colours_of_the_terminal_pass_the_policy(signed_in: SignedIn, talker: str) -> None:
    """xterm.js writes style attributes for them, which the pages' policy forbids."""
    serial = Serial(signed_in("operator"), talker).open()
    serial.terminal.click()
    serial.page.keyboard.press("Escape")
    serial.type("[38;2;18;52;86mcoloured", LINE_FEED)
    serial.expect_text("coloured")
    words = serial.terminal.locator(".xterm-rows span").filter(has_text="coloured").last
    expect(words).to_have_css("color", "rgb(18, 52, 86)")


def test_the_text_can_be_searched(signed_in: SignedIn, talker: str) -> None:
    serial = Serial(signed_in("operator"), talker).open()
    serial.type("needle-in-it", LINE_FEED)
    serial.expect_text("needle-in-it")
    serial.page.get_by_role("button", name="Find in the text").click()
    box = serial.page.get_by_role("searchbox", name="Find in the text")
    box.fill("needle")
    box.press("Enter")
    expect(serial.page.get_by_text("Not found.")).to_be_hidden()
    box.fill("no such straw")
    box.press("Enter")
    expect(serial.page.get_by_text("Not found.")).to_be_visible()


def test_the_terminal_can_be_left_by_keyboard(signed_in: SignedIn, talker: str) -> None:
    serial = Serial(signed_in("operator"), talker).open()
    serial.terminal.click()
    serial.page.keyboard.press("Control+Shift+F6")
    expect(serial.page.get_by_role("button", name="Find in the text")).to_be_focused()


def test_the_screen_shows_a_picture_to_who_comes_late_too(signed_in: SignedIn, talker: str) -> None:
    first = Screen(signed_in("operator"), talker).open()
    expect(first.canvas).to_be_visible()
    first.page.wait_for_function("document.querySelector('canvas')?.width > 100")
    until_drawn(first)
    second = Screen(signed_in("admin"), talker).open()
    until_drawn(second)
    expect(second.page.get_by_text("operator types; you watch")).to_be_visible()
    expect(second.page.get_by_role("button", name="Ctrl+Alt+Del")).to_be_disabled()
    second.page.get_by_role("button", name="Take the keyboard").click()
    expect(second.page.get_by_role("button", name="Ctrl+Alt+Del")).to_be_enabled()
    expect(first.page.get_by_text("admin has taken the keyboard.")).to_be_visible()
    until_drawn(first)


def until_drawn(screen: Screen) -> None:
    """Several colours are on it."""
    for _ in range(100):
        if screen.colours() > 3:
            return
        screen.page.wait_for_timeout(200)
    raise AssertionError("nothing was drawn")


def test_consoles_are_loaded_only_when_they_are_opened(signed_in: SignedIn) -> None:
    page = signed_in("operator")
    loaded: list[str] = []
    page.on("request", lambda request: loaded.append(request.url.rpartition("/")[2]))
    guest = Guest(page, "files").open()
    page.wait_for_load_state("networkidle")
    assert not [name for name in loaded if name.startswith(("Serial", "Screen"))]
    guest.tab("Serial")
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()
    assert [name for name in loaded if name.startswith("Serial")]
