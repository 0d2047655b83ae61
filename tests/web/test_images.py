"""Images: what there is, who uses it, fetching and removing by the plan."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect

from .conftest import SignedIn
from .host import Host
from .pages import PlanDialog, visit


def row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(has_text=name)


def test_what_there_is_and_who_uses_it(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    visit(page, "/images")
    expect(row(page, "debian")).to_contain_text("2 GiB")
    expect(row(page, "debian").get_by_role("link", name="files")).to_have_attribute("href", "/guests/files")
    expect(row(page, "openbsd-install")).to_contain_text("installation medium")
    expect(page.get_by_role("main").get_by_role("button", name="etch")).to_have_count(0)
    expect(page.get_by_role("main").get_by_role("button", name="Remove")).to_have_count(0)


def test_what_is_in_use_is_not_removed(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    visit(page, "/images")
    page.get_by_role("button", name="Remove image debian").click()
    dialog = PlanDialog(page)
    dialog.box.get_by_role("button", name="Take it over").click()
    expect(dialog.box.get_by_role("alert")).to_contain_text("debian")
    expect(dialog.box.get_by_role("button", name="Do it")).to_have_count(0)
    dialog.box.get_by_role("button", name="Close").last.click()
    assert host.client.call("GET", "/v1/images/debian")["status"]["state"] == "present"


def test_an_image_is_fetched_by_its_plan_and_the_failure_is_said(signed_in: SignedIn) -> None:
    page = signed_in("admin")
    visit(page, "/images")
    page.get_by_role("button", name="Fetch an image").click()
    form = page.get_by_role("dialog")
    form.get_by_role("button", name="Show the plan").click()
    expect(form).to_contain_text("at least one address are needed")
    form.get_by_label("Name").fill("nowhere")
    form.get_by_label("Version").fill("1")
    form.get_by_label("Where from").fill("http://127.0.0.1:1/")
    form.get_by_role("button", name="Show the plan").click()
    dialog = PlanDialog(page)
    assert "pull image nowhere:1" in dialog.steps()[0]
    dialog.box.get_by_role("button", name="Do it").click()
    expect(dialog.box.get_by_role("alert")).to_contain_text("no mirror has a manifest")
