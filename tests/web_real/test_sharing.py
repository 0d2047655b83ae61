"""Consoles of a guest that runs: several people on one, services that end meanwhile, and who may not."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from .conftest import new_context, picture
from .machine import OPERATOR, VIEWER, kill_service, run, serial, until
from .pages import connected, open_screen, open_serial, press, reads, sign_in, take_keyboard, terminal, types

GUEST = "gateway"
"""One of the two that `make up` starts."""
LINES = 18
"""Fewer than the terminal has rows, so that all can be counted."""


@pytest.fixture
def other(browser: Browser) -> Iterator[BrowserContext]:
    made = new_context(browser)
    yield made
    made.close()


@pytest.fixture
def operator(context: BrowserContext) -> Page:
    page = context.new_page()
    sign_in(page, OPERATOR)
    return page


@pytest.fixture
def viewer(other: BrowserContext) -> Page:
    page = other.new_page()
    sign_in(page, VIEWER)
    return page


def test_one_types_and_another_watches(operator: Page, viewer: Page) -> None:
    open_serial(operator, GUEST)
    take_keyboard(operator)
    open_serial(viewer, GUEST)
    word = secrets.token_hex(4)
    types(operator, GUEST, f"echo {word[:4]}''{word[4:]}")
    reads(operator, GUEST, word)
    reads(viewer, GUEST, word)
    picture(viewer, "watching")


def test_a_viewer_does_not_type(viewer: Page) -> None:
    open_serial(viewer, GUEST)
    expect(viewer.get_by_role("button", name="Take the keyboard")).to_have_count(0)
    word = secrets.token_hex(4)
    before = serial(GUEST)
    types(viewer, GUEST, f"echo {word}")
    viewer.wait_for_timeout(2000)
    assert word not in serial(GUEST)[len(before) :]


def test_taking_the_keyboard_is_shown_to_who_loses_it(operator: Page, other: BrowserContext) -> None:
    run("user", "role", VIEWER, "operator")
    try:
        second = other.new_page()
        sign_in(second, VIEWER)
        open_serial(operator, GUEST)
        take_keyboard(operator)
        open_serial(second, GUEST)
        expect(second.get_by_text(f"{OPERATOR} types; you watch")).to_be_visible()
        take_keyboard(second)
        expect(operator.get_by_text(f"{VIEWER} types; you watch")).to_be_visible()
        expect(operator.get_by_text(f"{VIEWER} has taken the keyboard.")).to_be_visible()
    finally:
        run("user", "role", VIEWER, "viewer")


@pytest.mark.parametrize("service", ["skepd", "skep-gateway"])
def test_a_console_comes_back_without_a_gap(operator: Page, service: str) -> None:
    """What the guest wrote while the service was away is there afterwards, once."""
    open_serial(operator, GUEST)
    take_keyboard(operator)
    mark = secrets.token_hex(3)
    types(operator, GUEST, f"clear; i=0; while [ $i -lt {LINES} ]; do echo {mark}-$i.; i=$((i+1)); sleep 2; done")
    reads(operator, GUEST, f"{mark}-2.")
    kill_service(service, away=20)
    until(lambda: f"{mark}-{LINES - 1}." in serial(GUEST), "the guest has counted to its end")
    connected(operator)
    reads(operator, GUEST, f"{mark}-{LINES - 1}.")
    shown = terminal(operator, GUEST).locator(".xterm-accessibility-tree").inner_text()
    counts = [shown.count(f"{mark}-{number}.") for number in range(LINES)]
    assert counts == [1] * LINES, f"each line once, but: {counts}"
    types(operator, GUEST, f"echo back-$((1+1))-{mark}")
    reads(operator, GUEST, f"back-2-{mark}")


def test_two_people_see_the_same_screen(operator: Page, viewer: Page) -> None:
    """Whoever comes later sees the whole picture: both canvases are equal, pixel by pixel."""
    first = open_screen(operator, GUEST)
    take_keyboard(operator)
    first.click()
    press(operator, f"clear; echo {secrets.token_hex(8)} > /dev/tty1; setterm --cursor off\n")
    pixels = "canvas => canvas.toDataURL('image/png')"
    second = open_screen(viewer, GUEST)
    until(lambda: first.evaluate(pixels) == second.evaluate(pixels) != "", "both see the same", 60)
    size = second.evaluate("canvas => [canvas.width, canvas.height]")
    assert min(size) > 300, f"a whole screen, not {size}"
    colours = second.evaluate(
        "canvas => new Set(new Uint32Array(canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size"
    )
    assert colours > 1, "something is written on it"
