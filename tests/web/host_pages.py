"""The pages about the host as a whole, as a user sees them."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from .pages import WAIT, PlanDialog, visit


class Site:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> Site:
        visit(self.page, "/")
        expect(self.page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT)
        return self

    @property
    def problems(self) -> Locator:
        return self.page.get_by_role("region", name="What needs you").get_by_role("listitem")

    def card(self, title: str) -> Locator:
        return self.page.get_by_role("region", name=title, exact=True)


class Operation:
    def __init__(self, page: Page, identity: str) -> None:
        self.page, self.identity = page, identity

    def open(self) -> Operation:
        visit(self.page, f"/operations/{self.identity}")
        expect(self.page.get_by_role("heading", name="Steps")).to_be_visible(timeout=WAIT)
        return self

    def step(self, summary: str) -> Locator:
        return self.page.get_by_role("region", name="Steps").get_by_role("listitem").filter(has_text=summary)

    @property
    def log(self) -> Locator:
        return self.page.get_by_role("log")


class Confirmation:
    """The banner of a change that undoes itself, on every page."""

    def __init__(self, page: Page) -> None:
        self.box = page.get_by_role("alert").filter(has_text="can you still reach this host?")

    def press(self, button: str) -> None:
        self.box.get_by_role("button", name=button).click()


class SitePlan:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self) -> SitePlan:
        visit(self.page, "/plan")
        expect(self.text).not_to_be_empty(timeout=WAIT)
        return self

    @property
    def text(self) -> Locator:
        return self.page.get_by_role("textbox", name="Site definition")

    def replace(self, old: str, new: str) -> None:
        before = self.text.input_value()
        assert old in before, before
        self.text.fill(before.replace(old, new, 1))

    def check(self) -> None:
        self.page.get_by_role("button", name="Show the plan").click()

    @property
    def plan(self) -> Locator:
        return self.page.get_by_role("region", name="What would be done")

    @property
    def changes(self) -> Locator:
        return self.page.get_by_role("region", name="Changes of the text")


class Networks:
    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, place: str = "") -> Networks:
        visit(self.page, "/networks" + (f"/{place}" if place else ""))
        expect(self.page.get_by_role("heading", level=1)).to_be_visible(timeout=WAIT)
        return self

    @property
    def drawing(self) -> Locator:
        return self.page.get_by_role("group", name="Drawing of the networks")

    def make(self, kind: str, name: str) -> None:
        self.open(f"{kind}/+new")
        self.page.get_by_label("Name", exact=True).fill(name)

    def review(self) -> PlanDialog:
        self.page.get_by_role("button", name="Show the plan").click()
        return PlanDialog(self.page)

    def remove(self) -> PlanDialog:
        self.page.get_by_role("button", name="Remove").click()
        return PlanDialog(self.page)


class Access:
    """Users, sessions, tokens and the audit log."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def open(self, tab: str = "") -> Access:
        visit(self.page, "/users" + (f"/{tab}" if tab else ""))
        expect(self.page.get_by_role("table")).to_be_visible(timeout=WAIT)
        return self

    def row(self, *words: str) -> Locator:
        found = self.page.get_by_role("row")
        for word in words:
            found = found.filter(has_text=word)
        return found

    def dialog(self, title: str) -> Locator:
        return self.page.get_by_role("dialog", name=title)
