"""What a person does on the pages, in his words."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect
from web.pages import SignIn, visit

from .machine import PASSWORD

BOOT = 420_000
"""Milliseconds that an emulated guest may take to boot on a busy machine."""


def sign_in(page: Page, name: str) -> None:
    SignIn(page).open().enter(name, PASSWORD)
    expect(page.get_by_role("navigation", name="Main")).to_be_attached()


def carry_out(page: Page) -> None:
    """In the dialog that shows the plan: do it, and wait until it is done."""
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=re.compile("^Do it")).click()
    expect(dialog).to_be_hidden(timeout=BOOT)


def terminal(page: Page, guest: str) -> Locator:
    return page.get_by_role("group", name=f"Serial line of {guest}")


def open_serial(page: Page, guest: str) -> Locator:
    visit(page, f"/guests/{guest}/serial")
    connected(page)
    return terminal(page, guest)


def open_screen(page: Page, guest: str) -> Locator:
    visit(page, f"/guests/{guest}/screen")
    connected(page)
    canvas = page.get_by_role("group", name=f"Screen of {guest}").locator("canvas")
    expect(canvas).to_be_visible()
    return canvas


def connected(page: Page) -> None:
    expect(page.get_by_text("Connected", exact=True)).to_be_visible()


def take_keyboard(page: Page) -> None:
    """Unless it is ours already."""
    mine = page.get_by_text("You type")
    take = page.get_by_role("button", name="Take the keyboard")
    expect(mine.or_(take)).to_be_visible()
    if take.is_visible():
        take.click()
    expect(mine).to_be_visible()


def reads(page: Page, guest: str, words: str, timeout: float = BOOT) -> None:
    """Wait until the words stand on the terminal, as a screen reader finds them."""
    expect(terminal(page, guest)).to_contain_text(words, timeout=timeout)


def types(page: Page, guest: str, line: str) -> None:
    terminal(page, guest).locator("textarea").focus()
    page.keyboard.type(line + "\n", delay=10)


SHIFTED = {">": "Period", "_": "Minus", "&": "Digit7", "$": "Digit4"}


def press(page: Page, text: str) -> None:
    """Key by key, with Shift held where a person holds it: a screen is sent keys, not letters."""
    for letter in text:
        key = f"Shift+{SHIFTED[letter]}" if letter in SHIFTED else "Enter" if letter == "\n" else letter
        page.keyboard.press(key, delay=20)
