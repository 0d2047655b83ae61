"""The first page: from asking for it until something is painted, against the API's own answer to what it shows.

A simulated host with the branch office of the web suite; Debian's Chromium, signed in, nothing in its cache.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _report import alternate, report
from playwright.sync_api import Browser, Page, sync_playwright

from tests.web.host import Host

ROUNDS = 9
NAME, PASSWORD = "bench", "a sentence that nobody else would think of"
PAINTED = """() => new Promise((resolve) => new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (entry.name === "first-contentful-paint") resolve(entry.startTime);
}).observe({type: "paint", buffered: true}))"""


def main() -> int:
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with Host() as host, sync_playwright() as playwright:
        host.furnish()
        host.client.call("POST", "/v1/users", {"name": NAME, "role": "viewer", "password": PASSWORD})
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=options)
        page = signed_in(browser, host.url)
        works = {"page": lambda: painted(page, host.url), "api": lambda: answered(page)}
        for work in works.values():
            work()
        times = alternate(works, ROUNDS)
        browser.close()
    ratio = times["page"] / times["api"]
    peer = f"GET /v1/health by the same browser: {times['page'] * 1000:.0f} ms against {times['api'] * 1000:.0f} ms"
    report("first page painted", ratio, 20.0, "x", peer)
    return 0


def signed_in(browser: Browser, url: str) -> Page:
    page = browser.new_page()
    page.goto(f"{url}/login")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", level=1).wait_for()
    page.context.new_cdp_session(page).send("Network.setCacheDisabled", {"cacheDisabled": True})
    return page


def painted(page: Page, url: str) -> float:
    """Seconds from the beginning of a visit to its first contentful paint."""
    page.goto(url)
    found: float = page.evaluate(PAINTED)
    return found / 1000


def answered(page: Page) -> float:
    begin = time.perf_counter()
    page.evaluate("() => fetch('/v1/health').then((answer) => answer.arrayBuffer())")
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
