"""Screen readers and all sizes, for the parts of the pages about the host that have an address of their own."""

from __future__ import annotations

import pytest

from .conftest import SignedIn
from .pages import visit
from .test_everybody import SMALL, serious, settle

PLACES = (
    "/networks/network", "/networks/port", "/networks/filter", "/networks/router", "/networks/network/office",
    "/networks/filter/web", "/networks/network/+new", "/networks/filter/+new", "/networks/port/+new",
    "/networks/router/+new", "/users/sessions", "/users/tokens", "/users/audit", "/settings/machine",
    "/settings/doctor", "/settings/about",
)  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing_serious(signed_in: SignedIn, place: str) -> None:
    page = signed_in("admin")
    visit(page, place)
    settle(page)
    assert serious(page) == []
    page.set_viewport_size({"width": SMALL[0], "height": SMALL[1]})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert serious(page) == []
