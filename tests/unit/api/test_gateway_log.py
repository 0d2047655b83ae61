"""What the gateway writes into its log of callers that it does not know."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from skepd.gateway.app import Gateway
from skepd.gateway.pages import Pages


def test_nobody_writes_lines_of_his_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/v1/x\nskep-gateway: all is well",
        "raw_path": b"/v1/x%0Askep-gateway:%20all%20is%20well",
        "query_string": b"",
        "headers": [],
    }
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    with caplog.at_level(logging.WARNING):
        asyncio.run(Gateway(tmp_path / "no.sock", Pages(tmp_path))(scope, None, send))
    assert sent[0]["status"] == 502
    (record,) = caplog.records
    assert "GET /v1/x%0Askep-gateway:%20all" in record.getMessage()
    assert "\n" not in record.getMessage()
