"""Whatever the document allows, and much that it does not, is answered as the document says, never by a 5xx."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, settings
from running_api import example_engine
from schemathesis import checks
from skepd.api import openapi
from skepd.api.app import create_app
from skepd.api.authorise import Authoriser
from skepd.api.server import configuration
from skepd.api.tokens import TokenStore

checks.load_all_checks()
CHECKS = [
    checks.CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    )
]


@schemathesis.serializer("application/toml")
def _toml(_context: object, value: object) -> bytes:
    return str(value).encode(errors="surrogatepass")


schema = schemathesis.openapi.from_dict(openapi.document())


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, str]]:
    """Base URL and token of the API on loopback."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        tokens = TokenStore(Path(folder) / "tokens.json")
        running = uvicorn.Server(configuration(create_app(example_engine(), tokens, Authoriser(tokens))))
        thread = threading.Thread(target=lambda: running.run([listener]), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", tokens.create("test", "admin").secret
        running.should_exit = True
        thread.join(30)


@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
def test_every_answer_is_as_documented(case: schemathesis.Case, server: tuple[str, str]) -> None:
    url, token = server
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
