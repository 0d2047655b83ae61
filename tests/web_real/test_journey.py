"""A site's day in the browser: make a guest, use both its consoles, take a snapshot, break it, go back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect
from web.pages import visit

from .conftest import first_link, picture
from .machine import ADMIN, ADMINS, PASSWORD, run, serial, skep, until
from .pages import BOOT, carry_out, open_screen, open_serial, press, reads, take_keyboard, types

GUEST = "journey"
READY = "skep-small: ready"


@pytest.fixture
def no_guest() -> Iterator[None]:
    _remove()
    yield
    _remove()


def _remove() -> None:
    if any(guest["name"] == GUEST for guest in skep("guest", "list")):
        run("guest", "stop", GUEST, "--force", "--timeout", "0")
        run("guest", "delete", GUEST, "--yes")


@pytest.mark.timeout(1800)
def test_from_the_first_link_to_a_rollback(context: BrowserContext, no_guest: None) -> None:
    page = context.new_page()
    make_the_administrator(page)
    make_a_guest(page)
    reads(page, GUEST, READY)

    by_serial, by_screen = secrets.token_hex(4), secrets.token_hex(4)
    types(page, GUEST, f"echo {by_serial} > /root/serial; sync")
    type_on_the_screen(page, f"echo {by_screen} > /root/screen; sync; echo screen-done > /dev/ttyS0")
    open_serial(page, GUEST)
    reads(page, GUEST, "screen-done")
    take_keyboard(page)
    read_back_from_the_disk(page, by_serial, by_screen)

    take_a_snapshot(page, "before-upgrade")
    break_the_guest(page)
    roll_back(page, "before-upgrade")
    open_serial(page, GUEST)
    take_keyboard(page)
    types(page, GUEST, "clear; cat /root/serial /root/screen")
    reads(page, GUEST, by_serial)
    reads(page, GUEST, by_screen)


def make_the_administrator(page: Page) -> None:
    visit(page, first_link())
    page.get_by_label("Name").fill(ADMIN)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the account and sign in").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("navigation", name="Main")).to_be_attached()
    page.wait_for_load_state("networkidle")
    picture(page, "site")
    for user in skep("user", "list"):
        if user["name"].startswith(ADMINS) and user["name"] != ADMIN:
            run("user", "delete", user["name"], "--yes")


def make_a_guest(page: Page) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Guests").click()
    page.get_by_role("link", name="New guest").or_(page.get_by_role("button", name="New guest")).first.click()
    page.get_by_role("radio", name="skep-small").check(force=True)
    page.get_by_label("Name", exact=True).fill(GUEST)
    page.get_by_label("Memory").fill("192M")
    page.get_by_label("Disk", exact=True).fill("1G")
    page.get_by_label("Network").select_option("wan")
    page.get_by_label("Fixed addresses").fill("10.77.0.50")
    picture(page, "new-guest")
    page.get_by_role("button", name="Show the plan").click()
    picture(page, "plan-of-a-guest")
    carry_out(page)
    page.wait_for_url(f"**/guests/{GUEST}/serial")


def type_on_the_screen(page: Page, line: str) -> None:
    canvas = open_screen(page, GUEST)
    take_keyboard(page)
    canvas.click()
    press(page, "\n" + line + "\n")
    page.wait_for_timeout(1000)
    picture(page, "screen")


def read_back_from_the_disk(page: Page, *words: str) -> None:
    """After a restart, so that what is read comes from the disk and not from the guest's memory."""
    boots = serial(GUEST).count(READY)
    types(page, GUEST, "reboot")
    until(lambda: serial(GUEST).count(READY) > boots, "the guest boots again")
    types(page, GUEST, "clear; cat /root/serial /root/screen")
    for word in words:
        reads(page, GUEST, word)
    picture(page, "serial")


def take_a_snapshot(page: Page, name: str) -> None:
    visit(page, f"/guests/{GUEST}/snapshots")
    page.get_by_role("button", name="Take a snapshot").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_role("button", name="Show the plan").click()
    carry_out(page)
    expect(page.get_by_role("heading", name=name)).to_be_visible()
    picture(page, "snapshots")


def break_the_guest(page: Page) -> None:
    """Its system is gone: it cannot boot any more."""
    open_serial(page, GUEST)
    take_keyboard(page)
    boots = serial(GUEST).count(READY)
    types(page, GUEST, "rm -rf /sbin/init /usr/lib/skep /bin/sh; sync; echo b > /proc/sysrq-trigger")
    reads(page, GUEST, "Kernel panic")
    assert serial(GUEST).count(READY) == boots


def roll_back(page: Page, name: str) -> None:
    boots = serial(GUEST).count(READY)
    visit(page, f"/guests/{GUEST}/snapshots")
    page.get_by_role("button", name="Roll back", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("is lost")
    picture(page, "rollback")
    dialog.get_by_role("button", name="Show the plan").click()
    carry_out(page)
    until(lambda: serial(GUEST).count(READY) > boots, "the guest boots after the rollback", BOOT / 1000)
