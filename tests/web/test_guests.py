"""The list of guests: live, filtered, several at once."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .pages import Guests, PlanDialog


def test_what_happens_on_the_host_shows_without_asking(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("viewer")
    guests = Guests(page).open()
    expect(guests.row("build")).to_contain_text("Running")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    host.fault("crash", "build")
    expect(guests.row("build")).to_contain_text("Crashed")
    host.client.call("POST", "/v1/guests/build/actions/start", {}, wait=20)
    expect(guests.row("build")).to_contain_text("Running")
    assert asked, "the changed guest was read"
    beside = [url for url in asked if not url.startswith((f"{host.url}/v1/guests/build", f"{host.url}/v1/operations/"))]
    assert beside == [], "and nothing but what the events named: nobody polls"


def test_use_is_measured_live(signed_in: SignedIn) -> None:
    guests = Guests(signed_in("viewer")).open()
    expect(guests.row("files")).to_contain_text(re.compile(r"\d %"), timeout=60_000)
    expect(guests.row("files")).to_contain_text(re.compile(r"\d .?i?B/s"))


def test_filters_and_search_are_in_the_address(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    guests = Guests(page).open()
    page.get_by_role("radio", name="Stopped").check(force=True)
    expect(page.get_by_role("link", name="files", exact=True)).to_be_hidden()
    assert guests.names() == ["firewall"]
    expect(page).to_have_url("/guests?show=stopped")
    page.get_by_role("radio", name="All").check(force=True)
    page.get_by_label("Name, address, network").fill("10.10.0.20")
    expect(page.get_by_role("link", name="build", exact=True)).to_be_hidden()
    assert guests.names() == ["files"]
    page.reload()
    expect(page.get_by_role("link", name="files", exact=True)).to_be_visible()
    assert guests.names() == ["files"]
    page.get_by_label("Name, address, network").fill("no such thing")
    page.get_by_role("button", name="Show all guests").click()
    expect(page.get_by_role("link", name="build", exact=True)).to_be_visible()


def test_columns_sort_both_ways(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    guests = Guests(page).open()
    names = guests.names()
    assert names == sorted(names)
    assert len(names) >= 5
    page.get_by_role("button", name="Guest", exact=True).click()
    assert guests.names() == names[::-1]
    expect(page.get_by_role("columnheader", name="Guest")).to_have_attribute("aria-sort", "descending")


def test_several_guests_are_stopped_and_started_at_once(signed_in: SignedIn) -> None:
    page = signed_in("operator")
    guests = Guests(page).open()
    for name in ("build", "accounts"):
        page.get_by_label(f"Select {name}").check()
    bar = page.get_by_role("region", name="Actions")
    bar.get_by_role("button", name="Stop").click()
    plan = PlanDialog(page)
    assert [step for step in plan.steps() if step.startswith("stop")] == ["stop guest accounts", "stop guest build"]
    plan.apply()
    for name in ("build", "accounts"):
        expect(guests.row(name)).to_contain_text("Stopped")
        page.get_by_label(f"Select {name}").check()
    bar.get_by_role("button", name="Start").click()
    PlanDialog(page).apply()
    expect(guests.row("build")).to_contain_text("Running")
    expect(guests.row("accounts")).to_contain_text("Running")
    expect(bar).to_be_hidden()


def test_a_viewer_sees_no_button_that_he_may_not_use(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    Guests(page).open()
    assert page.get_by_role("main").get_by_role("button", name=re.compile("Start|Stop|Delete")).count() == 0
    assert page.get_by_role("link", name="New guest").count() == 0
    assert page.get_by_role("checkbox").count() == 0
    page.goto("/guests/new")
    expect(page.get_by_text("Your role does not allow this.")).to_be_visible()
