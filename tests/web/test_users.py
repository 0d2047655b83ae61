"""Users and tokens: accounts, sessions, API tokens, the audit log, and one's own settings."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect
from skep.client import Client
from skep.settings import Target

from .conftest import SignedIn
from .host import Host
from .host_pages import Access
from .pages import visit

SENTENCE, ANOTHER = "bees dance to tell the way", "wax cells have six sides each"


def sign_in(context: BrowserContext, host: Host, name: str, password: str) -> Page:
    headers = {"Origin": host.url, "X-Skep": "1"}
    answer = context.request.post("/v1/sessions", data={"name": name, "password": password}, headers=headers)
    assert answer.status == 201, answer.text()
    return context.new_page()


def test_an_account_from_beginning_to_end(
    signed_in: SignedIn, host: Host, context: Callable[..., BrowserContext]
) -> None:
    page = signed_in("admin")
    access = Access(page).open()
    page.get_by_role("button", name="New user").click()
    form = access.dialog("New user")
    form.get_by_label("Name").fill("dora")
    form.get_by_role("radio", name="Operator").check()
    form.get_by_label("Password").fill("short")
    form.get_by_role("button", name="Create the account").click()
    expect(form.get_by_role("alert")).to_be_visible()
    form.get_by_label("Password").fill(SENTENCE)
    form.get_by_role("button", name="Create the account").click()
    expect(access.row("dora")).to_contain_text("Operator")
    hers = sign_in(context(), host, "dora", SENTENCE)
    visit(hers, "/settings")
    expect(hers.get_by_role("region", name="You", exact=True)).to_contain_text("Operator")
    hers.get_by_label("Present password").fill(SENTENCE)
    hers.get_by_label("New password", exact=True).fill(ANOTHER)
    hers.get_by_label("New password again").fill(SENTENCE)
    hers.get_by_role("button", name="Change it").click()
    expect(hers.get_by_text("The two passwords differ.")).to_be_visible()
    hers.get_by_label("New password again").fill(ANOTHER)
    hers.get_by_role("button", name="Change it").click()
    expect(hers.get_by_role("status").filter(has_text="The password is set.")).to_be_visible()
    sign_in(context(), host, "dora", ANOTHER)
    access.open("sessions").row("dora").get_by_role("button").first.click()
    expect(page.get_by_role("status").filter(has_text="The session has ended.")).to_be_visible()
    access.open().row("dora").get_by_role("button", name="Remove the account dora").click()
    access.dialog("Remove the account dora").get_by_role("button", name="Remove", exact=True).click()
    expect(access.row("dora")).to_have_count(0)
    expect(hers.get_by_role("button", name="Sign in", exact=True)).to_be_visible()


def test_a_token_is_shown_once_works_and_is_revoked(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    access = Access(page).open("tokens") if host.client.call("GET", "/v1/tokens") else Access(page)
    visit(page, "/users/tokens")
    page.get_by_role("button", name="New token").click()
    form = access.dialog("New token")
    form.get_by_label("Name").fill("backup-script")
    form.get_by_role("button", name="Make the token").click()
    shown = access.dialog("The new token")
    secret = shown.get_by_label("Secret").input_value()
    client = Client(Target(host="127.0.0.1", port=host.port, tls=False, token=secret))
    assert client.request("GET", "/v1/users/me").json()["role"] == "viewer"
    shown.get_by_role("button", name="Close").last.click()
    assert secret not in page.content()
    access.row("backup-script").get_by_role("button", name="Revoke").click()
    access.dialog("Revoke the token backup-script").get_by_role("button", name="Revoke").click()
    expect(access.row("backup-script")).to_have_count(0)
    assert "backup-script" not in [one["name"] for one in host.client.call("GET", "/v1/tokens")]


def test_the_audit_log_tells_who_did_what(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("operator")
    visit(page, "/guests/files/snapshots")
    answer = page.request.post(
        "/v1/guests/files/snapshots", data={"name": "audited"}, headers={"Origin": host.url, "X-Skep": "1"}
    )
    assert answer.status in (200, 202)
    access = Access(signed_in("admin")).open("audit")
    expect(access.row("operator", "guests/files/snapshots").first).to_contain_text("127.0.0.1")
    host.client.call("DELETE", "/v1/guests/files/snapshots/audited", wait=60)


def test_only_administrators_see_accounts(signed_in: SignedIn) -> None:
    page = signed_in("operator")
    visit(page, "/users")
    expect(page.get_by_role("main")).to_contain_text("Your role does not allow this.")
    expect(page.get_by_role("link", name="Users")).to_have_count(0)


def test_settings_show_the_machine_to_everybody(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    visit(page, "/settings/machine")
    expect(page.get_by_role("row").filter(has_text="ada0")).to_contain_text("Healthy")
    expect(page.get_by_role("row").filter(has_text="tank")).to_contain_text("1 TiB")
    expect(page.get_by_role("row").filter(has_text="igb1")).to_contain_text("management")
    visit(page, "/settings/doctor")
    expect(page.get_by_role("row").filter(has_text="pool tank")).to_contain_text("Works")
    visit(page, "/settings/about")
    expect(page.get_by_role("region", name="About Skep")).to_contain_text("Version")
