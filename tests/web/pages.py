"""The pages as a user sees them: what he looks for and what he does there, by names and roles, never by markup."""

from __future__ import annotations

import time

from playwright.sync_api import Error, Locator, Page, expect

WAIT = 30_000
"""Milliseconds after which something that should appear counts as missing."""


def visit(page: Page, path: str) -> None:
    """Open a page. Chromium drops what it loads when any interface of the machine comes or goes: then once more."""
    for attempt in range(5):
        try:
            page.goto(path)
            return
        except Error as error:
            if "ERR_NETWORK_CHANGED" not in str(error) or attempt == 4:
                raise
            time.sleep(0.5)


class SignIn:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, path: str = "/login") -> SignIn:
        visit(self.page, path)
        return self

    def enter(self, name: str, password: str) -> None:
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()


class PlanDialog:
    """What is shown before anything is changed."""

    def __init__(self, page: Page) -> None:
        self.box = page.get_by_role("dialog")

    def steps(self) -> list[str]:
        expect(self.box.get_by_role("listitem").first).to_be_visible(timeout=WAIT)
        return [text.strip() for text in self.box.locator("ol li span:last-child").all_inner_texts()]

    def apply(self) -> None:
        """Do it, and wait until it is done."""
        self.box.get_by_role("button", name="Do it").click(timeout=WAIT)
        expect(self.box).to_be_hidden(timeout=WAIT)

    def cancel(self) -> None:
        self.box.get_by_role("button", name="Cancel").click()
        expect(self.box).to_be_hidden()


class Guests:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, query: str = "") -> Guests:
        visit(self.page, "/guests" + query)
        expect(self.page.get_by_role("table")).to_be_visible(timeout=WAIT)
        return self

    def row(self, name: str) -> Locator:
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("link", name=name, exact=True))

    def names(self) -> list[str]:
        return self.page.locator("tbody a.name").all_inner_texts()


class Guest:
    def __init__(self, page: Page, name: str) -> None:
        self.page, self.name = page, name

    def open(self, tab: str = "") -> Guest:
        visit(self.page, f"/guests/{self.name}" + (f"/{tab}" if tab else ""))
        expect(self.page.get_by_role("heading", name=self.name, level=1)).to_be_visible(timeout=WAIT)
        return self

    def tab(self, label: str) -> Guest:
        self.page.get_by_role("navigation", name=self.name).get_by_role("link", name=label).click()
        return self

    def press(self, button: str) -> PlanDialog:
        self.page.get_by_role("button", name=button, exact=True).first.click()
        return PlanDialog(self.page)

    def expect_state(self, label: str) -> None:
        expect(self.page.locator("main header").get_by_text(label, exact=True)).to_be_visible(timeout=WAIT)


class Serial:
    """The serial line of a guest, in its tab."""

    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.guest = Guest(page, name)
        self.terminal = page.get_by_role("group", name=f"Serial line of {name}")

    def open(self) -> Serial:
        self.guest.open("serial")
        self.expect_connected()
        return self

    def expect_connected(self) -> None:
        expect(self.page.get_by_text("Connected", exact=True)).to_be_visible(timeout=WAIT)

    def type(self, text: str, end: str = "Enter") -> None:
        self.terminal.click()
        self.page.keyboard.type(text)
        self.page.keyboard.press(end)

    def expect_text(self, text: str, times: int | None = None) -> None:
        """It stands on the terminal; times: so often and not more."""
        rows = self.terminal.locator(".xterm-rows")
        expect(rows).to_contain_text(text, timeout=WAIT)
        if times is not None:
            assert rows.inner_text().count(text) == times, rows.inner_text()


class Screen:
    def __init__(self, page: Page, name: str) -> None:
        self.page = page
        self.guest = Guest(page, name)
        self.place = page.get_by_role("group", name=f"Screen of {name}")

    def open(self) -> Screen:
        self.guest.open("screen")
        expect(self.page.get_by_text("Connected", exact=True)).to_be_visible(timeout=WAIT)
        return self

    @property
    def canvas(self) -> Locator:
        return self.place.locator("canvas")

    def colours(self) -> int:
        """How many colours there are on it: none but black means that nothing was drawn."""
        count: int = self.canvas.evaluate(
            """canvas => {
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              const seen = new Set();
              for (let at = 0; at < data.length; at += 4) seen.add(data[at] << 16 | data[at + 1] << 8 | data[at + 2]);
              return seen.size;
            }"""
        )
        return count


class NewGuest:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> NewGuest:
        visit(self.page, "/guests/new")
        expect(self.page.get_by_label("Name", exact=True)).to_be_visible(timeout=WAIT)
        return self

    def choose_image(self, name: str) -> None:
        self.page.get_by_role("radio", name=name).check(force=True)

    def fill(self, **values: str) -> None:
        for label, value in values.items():
            self.page.get_by_label(label.replace("_", " "), exact=True).fill(value)

    def review(self) -> PlanDialog:
        self.page.get_by_role("button", name="Show the plan").click()
        return PlanDialog(self.page)
