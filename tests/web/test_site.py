"""The page Site: one glance says whether all is well, live."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .host_pages import Site


def test_a_guest_in_trouble_is_told_at_once_with_what_to_do(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("viewer")
    site = Site(page).open()
    crashed = site.problems.filter(has_text="guest build crashed")
    expect(crashed).to_have_count(0)
    host.fault("crash", "build")
    expect(crashed).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("broken"))
    expect(site.card("Guests").get_by_role("link", name="build")).to_be_visible()
    expect(crashed).to_contain_text("look at its serial line")
    crashed.get_by_role("link").click()
    expect(page).to_have_url("/guests/build")
    page.go_back()
    host.client.call("POST", "/v1/guests/build/actions/start", {}, wait=60)
    expect(crashed).to_have_count(0)
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well")


def test_what_the_machine_is_made_of(signed_in: SignedIn) -> None:
    site = Site(signed_in("viewer")).open()
    expect(site.card("Uplinks")).to_contain_text("igb0")
    expect(site.card("Disks")).to_contain_text("ada0")
    expect(site.card("Memory").get_by_role("img")).to_have_attribute("aria-label", re.compile("Guests .*Free"))
    expect(site.card("Last snapshots")).to_be_visible()
    expect(site.card("Clock")).to_be_visible()


def test_work_shows_where_it_is_done_and_on_every_page(signed_in: SignedIn, host: Host) -> None:
    site = Site(signed_in("viewer")).open()
    made = host.client.call("POST", "/v1/guests/files/snapshots", {"name": "seen-on-site"}, wait=60)
    work = site.card("Operations").get_by_role("link", name=made["title"]).first
    expect(work).to_have_attribute("href", f"/operations/{made['id']}")
    host.client.call("DELETE", "/v1/guests/files/snapshots/seen-on-site", wait=60)
