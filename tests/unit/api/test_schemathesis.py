"""Whatever the document allows, and much that it does not, is answered as the document says, never by a 5xx."""

from __future__ import annotations

import contextlib
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
from skepd.engine.contract import Engine
from skepd.engine.engine import Engine as RealEngine
from skepd.engine.engine import Settings
from skepd.host import HostError
from skepd.model.names import Manager
from skepd.model.objects import Guest
from skepd.platform.sim import SimHost
from skepd.platform.sim.files import SimFiles

LONGEST_WAIT = 1
"""Seconds that an answer may be waited for here."""
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


def no_pull(*_arguments: object, **_callbacks: object) -> None:
    raise HostError("failed", "no mirror answers")


@contextlib.contextmanager
def simulated() -> Iterator[Engine]:
    """The real engine over a simulated host, with something in it."""
    host = SimHost()
    engine = RealEngine(
        Settings(
            files=SimFiles(),
            state=Path("/state"),
            pool_guests=Path("/pool/guests"),
            connect=lambda: host,
            read_facts=lambda hello: host.facts(),
            pull=no_pull,
            version="test",
        )
    )
    engine.recover()
    engine.start()
    try:
        for name in ("0", "web"):
            operation = engine.put(Guest(name=name, manager=Manager.USER, power="off"), manager=Manager.USER)
            assert engine.wait(operation.id, 60).state == "done"
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module", params=["fake", "simulated"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Base URL and token of the API on loopback, over either engine."""
    chosen = contextlib.nullcontext(example_engine()) if request.param == "fake" else simulated()
    with (
        chosen as engine,
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        tokens = TokenStore(Path(folder) / "tokens.json")
        running = uvicorn.Server(configuration(create_app(engine, tokens, Authoriser(tokens))))
        thread = threading.Thread(target=lambda: running.run([listener]), daemon=True)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", tokens.create("test", "admin").secret
        running.should_exit = True
        thread.join(30)


def shorten_wait(case: schemathesis.Case) -> None:
    """An operation may rightly queue behind one that waits for a gate: `?wait=3599` then outlives any client here."""
    query = case.query or {}
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if LONGEST_WAIT < int(query["wait"]) <= 3600:
            query["wait"] = LONGEST_WAIT


@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
def test_every_answer_is_as_documented(case: schemathesis.Case, server: tuple[str, str]) -> None:
    url, token = server
    shorten_wait(case)
    case.call_and_validate(base_url=url, headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)
