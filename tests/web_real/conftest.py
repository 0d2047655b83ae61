"""The pages in Debian's Chromium, against what `make up` started: real guests under UEFI, real consoles, TLS.

`make test-web` brings the machine up before this suite. Without it, the suite says so instead of passing.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from .machine import OPERATOR, PASSWORD, URL, VIEWER, run, skep

PICTURES = Path(os.environ.get("SKEP_PICTURES", "build/pictures"))
PATIENCE = 60_000
"""Milliseconds: guests are emulated, and the machine may have other work."""
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def machine() -> None:
    """Refuses to test nothing; the accounts are made as an administrator makes them."""
    try:
        run("host", "show")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.fail(f"Skep does not run on this machine ({error}); `make up` starts it, `make test-web` does both")
    known = {user["name"]: user for user in skep("user", "list")}
    for name, role in ((OPERATOR, "operator"), (VIEWER, "viewer")):
        if name in known:
            run("user", "delete", name, "--yes")
        run("user", "create", name, "--role", role, "--stdin", typed=PASSWORD)


@pytest.fixture(scope="session")
def browser(machine: None) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        yield chromium
        chromium.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser of somebody's own. The certificate is of the machine's own CA, which Chromium here does not know."""
    made = new_context(browser)
    yield made
    made.close()


def new_context(browser: Browser) -> BrowserContext:
    made = browser.new_context(base_url=URL, ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    made.set_default_timeout(PATIENCE)
    return made


def first_link() -> str:
    """The one-time link, as the host's administrator gets it."""
    found = re.search(r"https://\S+/setup#\S+", run("user", "link"))
    assert found, "`skep user link` prints a link"
    return found.group()


def picture(page: Page, name: str) -> None:
    """A screenshot for the README and for whoever looks."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png")
