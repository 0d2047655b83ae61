"""Operations: what was done, what is being done, and what somebody must decide."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .host_pages import Confirmation, Networks, Operation
from .pages import PlanDialog, visit


class Trickle(socketserver.BaseRequestHandler):
    """Promises a megabyte, and gives it so slowly that whoever waits for it has time to give up."""

    def handle(self) -> None:
        self.request.recv(4096)
        self.request.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with suppress(OSError):
            while not self.server.over.wait(0.5):  # type: ignore[attr-defined]
                self.request.sendall(b" " * 10)


@pytest.fixture
def slow() -> Iterator[str]:
    """The address of a server of images that never gets to the end of anything."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        server.over = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()


def test_why_an_operation_failed(signed_in: SignedIn, host: Host) -> None:
    body = {"version": "4", "sources": ["http://127.0.0.1:1/"]}
    failed = host.client.call("POST", "/v1/images/plan9/pull", body, wait=60)
    page = signed_in("viewer")
    visit(page, "/operations?show=failed")
    page.get_by_role("link", name=failed["title"]).first.click()
    expect(page).to_have_url(f"/operations/{failed['id']}")
    operation = Operation(page, failed["id"])
    expect(page.get_by_role("alert").filter(has_text="no mirror has a manifest")).to_be_visible()
    expect(operation.step("pull image plan9:4")).to_contain_text("Undone")
    expect(operation.step("define image plan9")).to_contain_text("Not begun")
    expect(operation.log).to_contain_text("Connection refused")


def test_an_operation_is_cancelled_by_an_operator_only(signed_in: SignedIn, host: Host, slow: str) -> None:
    page, viewer = signed_in("operator"), signed_in("viewer")
    visit(page, "/images")
    begun = host.client.call("POST", "/v1/images/slow/pull", {"version": "1", "sources": [slow]})
    expect(page.get_by_role("list", name="Being fetched")).to_contain_text(begun["title"])
    watching = Operation(viewer, begun["id"]).open()
    expect(watching.step("pull image slow:1")).to_contain_text("Runs")
    expect(watching.page.get_by_role("button", name="Cancel")).to_have_count(0)
    page.get_by_role("status").get_by_role("link", name=begun["title"]).click()
    page.get_by_role("button", name="Cancel").click()
    asked = page.get_by_role("dialog")
    expect(asked).to_contain_text("what it did so far is undone")
    asked.get_by_role("button", name="Cancel", exact=True).click()
    for one in (page, watching.page):
        expect(one.get_by_role("main").get_by_text("Cancelled", exact=True)).to_be_visible()


def begin_a_change_of_the_line(page: Networks, name: str) -> None:
    page.make("network", name)
    page.page.get_by_label("Kind").select_option("flat")
    page.page.get_by_label("Uplink").select_option("igb1")
    dialog = page.review()
    assert any(f"create network {name}" in step for step in dialog.steps())
    expect(dialog.box).to_contain_text("Skep undoes it by itself")
    dialog.box.get_by_role("button", name="Do it").click()


def test_a_change_that_can_cut_the_line_is_confirmed(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    begin_a_change_of_the_line(Networks(page), "line")
    elsewhere = signed_in("viewer")
    visit(elsewhere, "/guests")
    seen = Confirmation(elsewhere)
    expect(seen.box).to_contain_text("An administrator must confirm this")
    expect(seen.box.get_by_role("button", name="Confirm")).to_have_count(0)
    waiting = Confirmation(page)
    expect(waiting.box).to_contain_text("1:")
    waiting.press("Confirm")
    expect(waiting.box).to_have_count(0)
    expect(seen.box).to_have_count(0)
    assert host.client.call("GET", "/v1/networks/line")["status"]["state"] == "present"
    removed = host.client.call("DELETE", "/v1/networks/line", wait=1)
    if removed["state"] == "confirming":
        host.client.call("POST", f"/v1/operations/{removed['id']}/confirm", wait=60)


def test_a_change_that_can_cut_the_line_is_undone(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    begin_a_change_of_the_line(Networks(page), "regret")
    waiting = Confirmation(page)
    waiting.press("Undo now")
    expect(waiting.box).to_have_count(0)
    assert "regret" not in [one["name"] for one in host.client.call("GET", "/v1/networks")]


def test_the_plan_dialog_leads_to_its_operation(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("operator")
    visit(page, "/guests/intranet")
    page.get_by_role("button", name="Restart", exact=True).first.click()
    PlanDialog(page).apply()
    visit(page, "/operations")
    newest = host.client.call("GET", "/v1/operations", limit=1)[0]
    expect(page.locator(f'a[href="/operations/{newest["id"]}"]')).to_be_visible()
