"""Debian's Chromium against a simulated host: a host for each worker, a signed-in page for each role."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from .host import Host
from .watching import Watch

CHROMIUM = "/usr/bin/chromium"
ROLES = ("admin", "operator", "viewer")
SIZE = (1280, 800)

SignedIn = Callable[..., Page]
expect.set_options(timeout=30_000)  # a busy machine is slow; none of these tests is about time


def password(role: str) -> str:
    return f"a whole sentence for the {role}"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if shutil.which(CHROMIUM) is None:
        pytest.fail("there is no chromium: `make test-web` installs Debian's package")
    with sync_playwright() as playwright:
        # Chromium's sandbox needs user namespaces, which root in a container has not.
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The branch office. Tests leave its guests as they found them, or make guests of their own."""
    with Host() as host:
        host.furnish()
        for role in ROLES:
            host.client.call("POST", "/v1/users", {"name": role, "role": role, "password": password(role)})
        yield host


@pytest.fixture
def watch() -> Iterator[Watch]:
    """What pages did that they must never do; looked at when the test ends."""
    watch = Watch()
    yield watch
    assert watch.complaints == []


@pytest.fixture
def context(browser: Browser, host: Host, watch: Watch) -> Iterator[Callable[..., BrowserContext]]:
    """A fresh browser profile, as often as it is called."""
    made: list[BrowserContext] = []

    def make(size: tuple[int, int] = SIZE, scheme: str = "light") -> BrowserContext:
        viewport = {"width": size[0], "height": size[1]}
        one = browser.new_context(base_url=host.url, viewport=viewport, color_scheme=scheme, locale="en-GB")
        watch.over(one, host.url)
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture
def signed_in(context: Callable[..., BrowserContext], host: Host) -> SignedIn:
    """A page of somebody who signed in already: signed_in("viewer"). own: in a session that no other test uses."""

    def make(role: str = "admin", own: bool = False, **options: object) -> Page:
        one = context(**options)
        if not own and role in host.cookies:
            one.add_cookies(host.cookies[role])
            return one.new_page()
        headers = {"Origin": host.url, "X-Skep": "1"}
        answer = one.request.post("/v1/sessions", data={"name": role, "password": password(role)}, headers=headers)
        assert answer.status == 201, answer.text()
        if not own:
            host.cookies[role] = one.cookies()
        return one.new_page()

    return make
