"""The line to the host goes down and comes back: the page says so, and then shows how things are now."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from .conftest import SIZE, password
from .host import Host
from .pages import Guests
from .watching import Watch


@pytest.fixture
def alone(browser: Browser, watch: Watch) -> Iterator[tuple[Host, Page]]:
    """A host that may be killed, and an administrator at it."""
    with Host() as host:
        host.furnish()
        host.client.call("POST", "/v1/users", {"name": "admin", "role": "admin", "password": password("admin")})
        context = browser.new_context(base_url=host.url, viewport={"width": SIZE[0], "height": SIZE[1]})
        watch.over(context, host.url)
        headers = {"Origin": host.url, "X-Skep": "1"}
        data = {"name": "admin", "password": password("admin")}
        assert context.request.post("/v1/sessions", data=data, headers=headers).status == 201
        yield host, context.new_page()
        context.close()


def test_the_gateway_is_killed(alone: tuple[Host, Page]) -> None:
    host, page = alone
    guests = Guests(page).open()
    down = page.get_by_text("The line to this host is down.")
    host.kill("gateway", signal.SIGKILL)
    expect(down).to_be_visible()
    host.client.call("POST", "/v1/guests/files/actions/stop", {}, wait=20)
    expect(guests.row("files")).to_contain_text("Running")
    host.start_gateway()
    page.get_by_role("button", name="Try now").or_(page.get_by_role("heading", name="Guests")).first.click()
    expect(down).to_be_hidden()
    expect(guests.row("files")).to_contain_text("Stopped")


def test_skepd_is_killed(alone: tuple[Host, Page]) -> None:
    """What is simulated dies with it, so afterwards the page must show a host without guests."""
    host, page = alone
    Guests(page).open()
    host.kill("skepd", signal.SIGKILL)
    expect(page.get_by_text("The line to this host is down.")).to_be_visible()
    host.start_skepd()
    expect(page.get_by_text("There is no guest yet.")).to_be_visible()
    expect(page.get_by_text("The line to this host is down.")).to_be_hidden()
