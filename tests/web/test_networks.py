"""Networks: the drawing, what leads from it, and changes of networks, ports and filters."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from .conftest import SignedIn
from .host import Host
from .host_pages import Networks


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_the_drawing_is_a_list_of_what_is_joined(signed_in: SignedIn, size: tuple[int, int]) -> None:
    networks = Networks(signed_in("viewer", size=size)).open()
    drawing = networks.drawing
    expect(drawing.get_by_role("list", name="Ways out")).to_contain_text("igb0")
    office = drawing.get_by_role("list", name="Networks").get_by_role("link", name="office")
    expect(office).to_contain_text("VLAN 10")
    expect(office).to_contain_text("on igb0, 4 guests")
    both = drawing.get_by_role("listitem").filter(has_text="office + lab").first
    expect(both.get_by_role("link", name="build")).to_be_visible()
    assert drawing.locator("svg path").count() >= 5
    expect(networks.page.get_by_role("link", name="New network")).to_have_count(0)


def test_the_same_networks_give_the_same_drawing(signed_in: SignedIn) -> None:
    drawn = []
    for _ in range(2):
        networks = Networks(signed_in("viewer")).open()
        expect(networks.drawing.get_by_role("link", name="firewall")).to_be_visible()
        drawn.append(networks.drawing.locator("> svg").inner_html())
    assert drawn[0] == drawn[1]


def test_from_network_to_port_to_filter(signed_in: SignedIn) -> None:
    page = signed_in("viewer")
    networks = Networks(page).open()
    networks.drawing.get_by_role("link", name="office").first.click()
    expect(page.get_by_role("heading", name="office", level=1)).to_be_visible()
    expect(page.get_by_role("main")).to_contain_text("10.10.0.0/24")
    page.get_by_role("row").filter(has_text="10.10.0.20").get_by_role("link").first.click()
    expect(page.get_by_role("heading", name="files.", level=1)).to_be_visible()
    page.get_by_role("main").get_by_role("link", name="web", exact=True).click()
    expect(page.get_by_role("heading", name="What may pass")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="TCP 22, 80, 443")).to_contain_text("from anywhere")
    expect(page.get_by_role("row").filter(has_text="10.10.0.30")).to_be_visible()
    for button in ("Remove", "Change the definition"):
        expect(page.get_by_role("button", name=button)).to_have_count(0)


def test_a_filter_is_made_changed_and_removed_by_its_plans(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    networks = Networks(page)
    networks.make("filter", "phones")
    page.get_by_label("Rules").fill("in udp 5060 from filter web\nout any")
    dialog = networks.review()
    assert dialog.steps()[0] == "define filter phones"
    assert "phones" not in [one["name"] for one in host.client.call("GET", "/v1/filters")]
    dialog.apply()
    expect(page).to_have_url("/networks/filter/phones")
    expect(page.get_by_role("listitem").filter(has_text="UDP 5060")).to_contain_text("members of web")
    page.get_by_role("button", name="Change the definition").click()
    text = page.get_by_role("textbox", name="Definition of phones")
    good = text.input_value()
    text.fill(good.replace("out ipv4 any", "sideways any"))
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("alert").filter(has_text='"sideways" is no direction')).to_be_visible()
    text.fill(good.replace("udp 5060", "udp 5061"))
    networks.review().apply()
    expect(page.get_by_role("listitem").filter(has_text="UDP 5061").first).to_be_visible()
    networks.remove().apply()
    expect(page).to_have_url("/networks/filter")
    assert "phones" not in [one["name"] for one in host.client.call("GET", "/v1/filters")]


def test_a_network_with_dhcp_by_the_form(signed_in: SignedIn, host: Host) -> None:
    page = signed_in("admin")
    networks = Networks(page)
    networks.make("network", "cellar")
    page.get_by_label("Subnets").fill("10.99.0.0/24, fd00:99::/64")
    page.get_by_text("As text").click()
    text = page.get_by_role("textbox", name="Definition").input_value()
    assert text.startswith('kind = "isolated"\n')
    networks.review().apply()
    expect(page.get_by_role("heading", name="cellar", level=1)).to_be_visible()
    made = host.client.call("GET", "/v1/networks/cellar")
    assert [(one["prefix"], one["own"], one["dhcp"]) for one in made["subnets"]] == [
        ("10.99.0.0/24", "10.99.0.1", True),
        ("fd00:99::/64", "fd00:99::1", True),
    ]
    networks.remove().apply()


def test_what_is_wrong_with_a_form_is_said(signed_in: SignedIn) -> None:
    page = signed_in("admin")
    networks = Networks(page)
    networks.make("network", "")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_text("It needs a name.")).to_be_visible()
    page.get_by_label("Name", exact=True).fill("wrong")
    page.get_by_label("Kind").select_option("vlan")
    page.get_by_label("VLAN", exact=True).fill("5000")
    page.get_by_role("button", name="Show the plan").click()
    expect(page.get_by_role("alert").filter(has_text="5000 is not between 1 and 4094")).to_be_visible()
