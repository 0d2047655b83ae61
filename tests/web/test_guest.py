"""One guest: every tab, every change with its plan first."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .pages import Guest, NewGuest, PlanDialog


@pytest.fixture
def pet(host: Host) -> Iterator[str]:
    """A guest of the test's own."""
    body = {
        "guests": [{"name": "pet", "disks": [{"name": "root", "image": "debian"}], "nics": [{"port": "pet.0"}]}],
        "ports": [{"name": "pet.0", "network": "lab", "guest": "pet"}],
    }
    ended = host.client.call("POST", "/v1/definitions", body, wait=60)
    assert ended["state"] == "done", ended
    yield "pet"
    host.client.call("DELETE", "/v1/guests/pet", wait=60)


def test_its_power_with_the_plan_first(signed_in: SignedIn, pet: str, host: Host) -> None:
    guest = Guest(signed_in("operator"), pet).open()
    plan = guest.press("Stop")
    assert plan.steps()[-1] == "stop guest pet"
    plan.cancel()
    guest.expect_state("Running")
    guest.press("Stop").apply()
    guest.expect_state("Stopped")
    guest.press("Start").apply()
    guest.expect_state("Running")
    guest.press("Restart").apply()
    guest.expect_state("Running")
    guest.press("More")
    guest.press("Pause").apply()
    guest.expect_state("Paused")
    guest.press("Go on").apply()
    guest.expect_state("Running")


def test_a_disk_grows(signed_in: SignedIn, pet: str, host: Host) -> None:
    page = signed_in("operator")
    Guest(page, pet).open("disks").press("Grow")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("New size").fill("1G")
    expect(dialog.get_by_text("It must be larger than 2 GiB.")).to_be_visible()
    expect(dialog.get_by_role("button", name="Show the plan")).to_be_disabled()
    dialog.get_by_label("New size").fill("8G")
    dialog.get_by_role("button", name="Show the plan").click()
    PlanDialog(page).apply()
    expect(page.get_by_role("row").filter(has_text="root")).to_contain_text("8 GiB")
    assert host.client.call("GET", "/v1/guests/pet")["status"]["disks"]["root"]["size"] == 8 << 30


def test_a_disk_and_a_card_come_and_go(signed_in: SignedIn, pet: str, host: Host) -> None:
    page = signed_in("admin")
    guest = Guest(page, pet).open("disks")
    guest.press("Add a disk")
    page.get_by_role("dialog").get_by_role("button", name="Show the plan").click()
    PlanDialog(page).apply()
    expect(page.get_by_role("row").filter(has_text="data")).to_contain_text("20 GiB")
    host.client.call("POST", "/v1/guests/pet/actions/stop", {}, wait=20)
    guest.expect_state("Stopped")
    page.get_by_role("button", name="Remove data of pet").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Do it")).to_be_disabled()
    dialog.get_by_label("Type data to go on").fill("data")
    PlanDialog(page).apply()
    expect(page.get_by_role("row").filter(has_text="data")).to_be_hidden()
    guest.tab("Networks").press("Add a card")
    dialog.get_by_label("Network", exact=True).select_option("office")
    dialog.get_by_label("Fixed addresses").fill("10.10.0.77")
    dialog.get_by_role("button", name="Show the plan").click()
    PlanDialog(page).apply()
    expect(page.get_by_role("row").filter(has_text="pet.1")).to_contain_text("10.10.0.77")
    page.get_by_role("button", name="Remove the card pet.1").click()
    PlanDialog(page).apply()
    expect(page.get_by_role("row").filter(has_text="pet.1")).to_be_hidden()
    assert [nic["port"] for nic in host.client.call("GET", "/v1/guests/pet")["nics"]] == ["pet.0"]


def test_snapshots_and_the_way_back(signed_in: SignedIn, pet: str, host: Host) -> None:
    page = signed_in("operator")
    guest = Guest(page, pet).open("snapshots")
    expect(page.get_by_text("There is no snapshot yet.")).to_be_visible()
    for name in ("before-upgrade", "later"):
        guest.press("Take a snapshot")
        page.get_by_role("dialog").get_by_label("Name").fill(name)
        page.get_by_role("dialog").get_by_role("button", name="Show the plan").click()
        PlanDialog(page).apply()
        expect(page.get_by_role("heading", name=name)).to_be_visible()
    page.get_by_role("button", name="Compare").nth(1).click()
    expect(page.get_by_role("dialog").get_by_text("The definition is the same.")).to_be_visible()
    expect(page.get_by_role("dialog").get_by_text("root")).to_be_visible()
    page.get_by_role("dialog").get_by_role("button", name="Close").last.click()
    page.get_by_role("button", name="Roll back").nth(1).click()
    lost = host.client.call("GET", "/v1/guests/pet/snapshots/before-upgrade/changes")["newer"]
    warning = page.get_by_role("dialog").get_by_text("These newer snapshots go too: later.")
    expect(warning).to_have_count(len(lost))
    page.get_by_role("dialog").get_by_role("button", name="Show the plan").click()
    plan = PlanDialog(page)
    assert any("before-upgrade" in step for step in plan.steps())
    plan.apply()
    expect(page.get_by_role("heading", name="later")).to_have_count(1 - len(lost))
    guest.expect_state("Running")
    page.get_by_role("button", name="Remove the snapshot before-upgrade of pet").click()
    PlanDialog(page).apply()
    expect(page.get_by_role("heading", name="before-upgrade")).to_be_hidden()


def test_its_definition_is_edited_with_errors_by_line(signed_in: SignedIn, pet: str, host: Host) -> None:
    page = signed_in("admin")
    guest = Guest(page, pet).open("definition")
    editor = page.get_by_label("Definition as TOML")
    expect(editor).to_have_value(re.compile('image = "debian"'))
    expect(editor).not_to_be_editable()
    guest.press("Edit")
    text = editor.input_value()
    editor.fill('memroy = "2G"\n' + text)
    guest.press("Show the plan")
    expect(page.get_by_role("alert").filter(has_text="memroy")).to_contain_text('did you mean "memory"?')
    page.get_by_role("button", name="Line 1").click()
    assert editor.evaluate("area => area.value.slice(area.selectionStart, area.selectionEnd)") == 'memroy = "2G"'
    editor.fill('memory = "2G"\n' + re.sub(r"(?m)^memory.*\n", "", text))
    guest.press("Show the plan").apply()
    expect(editor).not_to_be_editable()
    assert host.client.call("GET", "/v1/guests/pet")["memory"] == 2 << 30
    expect(page.get_by_text("What was changed holds from the next start.")).to_be_visible()


def test_what_site_toml_describes_is_changed_only_after_taking_it_over(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    guest = Guest(page, "accounts").open()
    guest.press("Change")
    page.get_by_role("dialog").get_by_label("Description").fill("bookkeeping")
    page.get_by_role("dialog").get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("dialog")).to_contain_text("This is described in site.toml.")
    expect(page.get_by_role("dialog").get_by_role("button", name="Do it")).to_be_hidden()
    page.get_by_role("dialog").get_by_role("button", name="Take it over").click()
    plan = PlanDialog(page)
    assert plan.steps() == ["change the definition of guest accounts"]
    plan.cancel()
    assert host.client.call("GET", "/v1/guests/accounts")["manager"] == "site"


def test_events_and_graphs_of_it(signed_in: SignedIn, pet: str, host: Host) -> None:
    page = signed_in("viewer")
    guest = Guest(page, pet).open("events")
    expect(page.get_by_text("Operation ended").first).to_be_visible()
    host.fault("reboot", pet)
    expect(page.get_by_text("Rebooted", exact=True)).to_be_visible(timeout=30_000)
    guest.tab("Graphs")
    for title in ("CPU", "Memory", "Disks", "Network"):
        expect(page.get_by_role("img", name=re.compile(f"^{title}\\."))).to_be_visible()
    page.get_by_role("radio", name="30 days").check(force=True)
    expect(page.get_by_role("img", name=re.compile("^CPU\\."))).to_be_visible()


def test_deleting_it_asks_for_its_name(signed_in: SignedIn, host: Host) -> None:
    body = {"guests": [{"name": "doomed", "disks": [{"name": "root", "size": 1 << 30}]}]}
    host.client.call("POST", "/v1/definitions", body, wait=60)
    page = signed_in("admin")
    guest = Guest(page, "doomed").open()
    guest.press("More")
    guest.press("Delete guest")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Do it")).to_be_disabled(timeout=30_000)
    dialog.get_by_label("Type doomed to go on").fill("doomed")
    PlanDialog(page).apply()
    expect(page).to_have_url("/guests")
    expect(page.get_by_text("doomed is deleted.")).to_be_visible()
    expect(page.get_by_role("link", name="doomed")).to_be_hidden()


def test_a_guest_that_is_not_there(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    page.goto("/guests/nobody")
    expect(page.get_by_text("There is no guest nobody.")).to_be_visible()


def test_making_one_from_an_image(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    new = NewGuest(page).open()
    new.choose_image("freebsd")
    expect(page.get_by_label("System", exact=True)).to_have_value("freebsd")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    new.fill(Name="files")
    expect(page.get_by_text("There is a guest files already.")).to_be_visible()
    new.fill(Name="wiki", Disk="1G")
    expect(page.get_by_text("The image alone has 4 GiB.")).to_be_visible()
    new.fill(Disk="24G", Memory="768M", Fixed_addresses="10.78.0.99")
    plan = new.review()
    assert "create disk wiki/root, 24 GiB, thin, from image freebsd:14.3" in plan.steps()
    plan.apply()
    expect(page).to_have_url("/guests/wiki/serial")
    made = host.client.call("GET", "/v1/guests/wiki")
    assert (made["memory"], made["profile"], made["status"]["state"]) == (768 << 20, "freebsd", "running")
    assert made["status"]["addresses"] == ["10.78.0.99"]
    host.client.call("DELETE", "/v1/guests/wiki", wait=60)


def test_a_viewer_may_look_at_everything_and_change_nothing(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    guest = Guest(page, "files").open()
    forbidden = re.compile("Start|Stop|Restart|More|Change|Grow|Add|Remove|Take|Roll back|Edit")
    for tab in ("Overview", "Disks", "Networks", "Snapshots", "Definition", "Serial"):
        guest.tab(tab)
        expect(page.get_by_role("navigation", name="files").get_by_role("link", name=tab)).to_have_attribute(
            "aria-current", "page"
        )
        page.wait_for_load_state("networkidle")
        assert page.get_by_role("main").get_by_role("button", name=forbidden).count() == 0, tab
