"""What no page may do, whatever it is asked for: break its policy, fail in script, ask another server for anything."""

from __future__ import annotations

from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request

EXCUSED = ("net::ERR", "Failed to load resource", "WebSocket connection to")
"""What Chromium itself says of a line that is down, or of an answer that is an error: pages show that in words."""


class Watch:
    def __init__(self) -> None:
        self.complaints: list[str] = []

    def over(self, context: BrowserContext, url: str) -> None:
        def requested(request: Request) -> None:
            if not request.url.startswith((url, "data:", "blob:")):
                self.complaints.append(f"asked for {request.url}")

        def opened(page: Page) -> None:
            page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))

        context.on("request", requested)
        context.on("page", opened)
        context.on("console", self._said)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not any(word in message.text for word in EXCUSED):
            self.complaints.append(message.text)
