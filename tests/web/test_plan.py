"""The page Plan: site.toml against the machine."""

from __future__ import annotations

from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .host_pages import SitePlan

OLD, NEW = "bookkeeping, Windows", "bookkeeping and taxes"


def test_every_error_of_the_text_is_shown_at_its_line(signed_in: SignedIn) -> None:
    plan = SitePlan(signed_in("viewer")).open()
    plan.replace("vlan = 10", "vlan = 5000")
    plan.replace('memory = "8G"', 'memry = "8G"')
    plan.check()
    lines = plan.text.input_value().split("\n")
    vlan, memory = lines.index("vlan = 5000") + 1, lines.index('memry = "8G"') + 1
    errors = plan.page.get_by_role("alert")
    expect(errors.get_by_role("button", name=f"Line {vlan}", exact=True)).to_be_visible()
    expect(errors.filter(has_text='did you mean "memory"?')).to_be_visible()
    errors.get_by_role("button", name=f"Line {memory}", exact=True).click()
    chosen = "area => area.value.slice(area.selectionStart, area.selectionEnd)"
    assert plan.text.evaluate(chosen) == 'memry = "8G"'
    expect(plan.plan).to_contain_text("2 things are wrong with the text")


def test_a_plan_is_seen_then_applied(signed_in: SignedIn, host: Host) -> None:
    plan = SitePlan(signed_in("admin")).open()
    loaded = plan.text.input_value()
    plan.check()
    expect(plan.plan).to_contain_text("The text says what the host is.")
    plan.replace(OLD, NEW)
    expect(plan.changes).to_contain_text(NEW)
    expect(plan.plan).to_contain_text("The text changed since this plan was worked out.")
    plan.check()
    expect(plan.plan.get_by_role("listitem").filter(has_text="guest accounts")).to_be_visible()
    assert host.client.call("GET", "/v1/guests/accounts")["description"] == OLD
    plan.page.get_by_role("button", name="Apply").click()
    plan.page.get_by_role("dialog").get_by_role("button", name="Do it").click()
    expect(plan.page.get_by_role("status").filter(has_text="The host is as the text says.")).to_be_visible()
    assert host.client.call("GET", "/v1/guests/accounts")["description"] == NEW
    assert host.client.call("POST", "/v1/apply", {"text": loaded}, wait=60)["state"] == "done"


def test_a_viewer_plans_and_does_not_apply(signed_in: SignedIn) -> None:
    plan = SitePlan(signed_in("viewer")).open()
    plan.replace(OLD, NEW)
    plan.check()
    expect(plan.plan.get_by_role("listitem").filter(has_text="guest accounts")).to_be_visible()
    expect(plan.page.get_by_role("button", name="Apply")).to_have_count(0)
    expect(plan.page.get_by_text("an administrator applies them")).to_be_visible()
