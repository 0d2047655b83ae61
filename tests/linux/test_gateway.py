"""skep-gateway as it runs: a process of a user without power, TLS in front, skepd's API behind a unix socket."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from skep import client as client_module
from skep.client import Client
from skep.errors import Refused, Unreachable
from skep.settings import Target
from skep.websocket import WebSocket
from skepd.api import peers
from skepd.api.authorise import Account
from skepd.gateway import certificates, main, upstream
from skepd.platform.here import here

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "api"))
from running_api import Running, example_engine, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@dataclass
class Gateway:
    api: Running
    process: subprocess.Popen[bytes]
    port: int
    ca: Path

    def target(self, role: str | None = "admin") -> Target:
        token = self.api.tokens.create("test", role).secret if role else None
        return Target(host="localhost", port=self.port, ca=str(self.ca), token=token)

    def client(self, role: str | None = "admin") -> Client:
        return Client(self.target(role))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start(api_socket: Path, folder: Path, *options: str) -> tuple[subprocess.Popen[bytes], int]:
    port = free_port()
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    listen = ["--listen", f"127.0.0.1:{port}", "--socket", str(api_socket), "--state", str(folder / "state")]
    argv = [sys.executable, "-m", "skepd.gateway.main", *listen, *user, *options]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE)
    until(lambda: answers(port) or process.poll() is not None)
    return process, port


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    folder = Path(tempfile.mkdtemp(prefix="skep-gw-"))
    folder.chmod(0o755)
    with serving(example_engine()) as api:
        api.socket.parent.chmod(0o755)
        api.accounts[65534] = Account("skepgw", frozenset({"skep"}))
        process, port = start(api.socket, folder)
        try:
            yield Gateway(api, process, port, folder / "state" / "ca.pem")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
            assert process.stderr is not None
            process.stderr.close()
            shutil.rmtree(folder)


def test_prometheus_reads_its_page_by_the_token_of_a_viewer(gateway: Gateway) -> None:
    answer = gateway.client("viewer").request("GET", "/metrics")
    assert (answer.status, b"skep_info 1" in answer.content) == (200, True)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    with pytest.raises(Refused, match="no token was given"):
        gateway.client(None).request("GET", "/metrics")


def test_it_passes_the_callers_own_credential_on(gateway: Gateway) -> None:
    assert gateway.client().get("users", "me") == {"name": "test", "role": "admin", "via": "token"}
    assert gateway.client().get("guests", "web")["name"] == "web"
    with pytest.raises(Refused, match="no token was given") as caught:
        gateway.client(None).get("guests")
    assert caught.value.status == 401
    with pytest.raises(Refused, match="needs admin"):
        gateway.client("viewer").request("PUT", "/v1/guests/new", {})
    assert gateway.client("admin").request("PUT", "/v1/guests/new", {}, headers={"If-None-Match": "*"}).status == 200


def test_a_browser_signs_in_through_it(gateway: Gateway) -> None:
    gateway.api.access.users.create("anna", "admin", "a sentence that nobody guesses")
    client, here = gateway.client(None), f"https://localhost:{gateway.port}"
    page = {"Origin": here, "X-Skep": "1", "X-Skep-Peer": "6.6.6.6", "X-Skep-Scheme": "http"}
    body = {"name": "anna", "password": "a sentence that nobody guesses"}
    with pytest.raises(Refused, match="is not this server"):
        client.request("POST", "/v1/sessions", body, headers={**page, "Origin": "https://evil.example"})
    answer = client.request("POST", "/v1/sessions", body, headers=page)
    cookie = answer.headers["set-cookie"].partition(";")[0]
    assert cookie.startswith("__Host-skep=")
    (session,) = client.request("GET", "/v1/sessions", headers={"Cookie": cookie}).json()
    assert (session["user"], session["peer"], session["current"]) == ("anna", "127.0.0.1", True)
    with pytest.raises(Refused, match="is missing"):
        client.request("DELETE", "/v1/sessions/current", headers={"Cookie": cookie, "Origin": here})
    assert events(gateway, cookie, here)
    for wrong in ("https://evil.example", f"http://localhost:{gateway.port}", ""):
        assert not events(gateway, cookie, wrong)
    assert client.request("DELETE", "/v1/sessions/current", headers={"Cookie": cookie, **page}).status == 204
    with pytest.raises(Refused, match="has ended"):
        client.request("GET", "/v1/guests", headers={"Cookie": cookie})


def events(gateway: Gateway, cookie: str, origin: str) -> bool:
    """Whether a page of this origin gets a WebSocket."""
    context = gateway.target().context()
    with (
        socket.create_connection(("127.0.0.1", gateway.port), 30) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as line,
    ):
        head = [
            "GET /v1/events?after=-1 HTTP/1.1", f"Host: localhost:{gateway.port}", "Upgrade: websocket",
            "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: c2tlcCBza2VwIHNrZXAgIQ==",
            f"Cookie: {cookie}", *([f"Origin: {origin}"] if origin else []),
        ]  # fmt: skip
        line.sendall("\r\n".join([*head, "", ""]).encode())
        status = line.recv(12)
        assert status in (b"HTTP/1.1 101", b"HTTP/1.1 403")
        return status.endswith(b"101")


def test_a_gateway_of_a_powerful_user_gives_nobody_power(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started as skepd's own user by mistake: its callers still need tokens of their own."""
    monkeypatch.setattr(peers, "peer_uid", lambda sock: os.geteuid())
    assert gateway.api.request("GET", "/v1/guests")[0] == 200
    with pytest.raises(Refused, match="no token was given"):
        gateway.client(None).get("guests")
    with pytest.raises(Refused, match="no token was given"):
        WebSocket(gateway.target(None), "/v1/guests/web/console")


def test_it_runs_without_privilege(gateway: Gateway) -> None:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert "0" not in fields["Uid"].split() + fields["Gid"].split() + fields["Groups"].split()
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


def test_who_does_not_trust_its_ca_does_not_talk_to_it(gateway: Gateway) -> None:
    target = Target(host="localhost", port=gateway.port, token="secret")
    with pytest.raises(Unreachable, match="not trusted"):
        Client(target).get("guests")


def test_no_other_path_leads_to_skepd(gateway: Gateway) -> None:
    """Whether pages are built or not: what is not under /v1 is the pages' business, and they change nothing."""
    client = gateway.client()
    for path in ("/", "/v2/guests", "/v1", "/%76%31/guests"):
        with pytest.raises(Refused) as caught:
            client.request("PUT", path, {})
        assert caught.value.status == 405
        assert shown(client, path).lower().startswith(b"<!doctype html>")
    assert client.request("GET", "/healthz").content == b"ok\n"
    assert gateway.api.engine.work == {}


def shown(client: Client, path: str) -> bytes:
    """What a browser sees, also of a refusal."""
    connection = client_module.connect(client.target)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_bodies_stream_up_and_a_refusal_comes_back(gateway: Gateway) -> None:
    client = gateway.client()
    text = "#" + "x" * (3 << 20)
    assert client.request("POST", "/v1/plan", {"text": text}).json()["steps"] == []
    with pytest.raises((Refused, Unreachable)) as caught:
        client.request("POST", "/v1/plan", b"x" * (32 << 20))
    if isinstance(caught.value, Refused):
        assert caught.value.status == 413


def test_a_chunked_body_arrives(gateway: Gateway) -> None:
    target = gateway.target()
    connection = http.client.HTTPSConnection("localhost", gateway.port, context=target.context(), timeout=60)
    pieces = [b'{"text": "[guest', b'.a]"}']
    headers = {"Authorization": f"Bearer {target.token}", "Content-Type": "application/json"}
    connection.request("POST", "/v1/plan", iter(pieces), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert [step["summary"] for step in json.loads(answer.read())["steps"]] == ["create guest a"]
    connection.close()


def test_events_stream_through_and_end_when_the_caller_goes(gateway: Gateway) -> None:
    hub = gateway.api.app.state.service.hub
    events = gateway.client("viewer").events(0)
    gateway.api.engine._event("x", "y")
    assert next(events)["number"] == 1
    assert hub._followers == 1
    events.close()
    until(lambda: hub._followers == 0)
    line = WebSocket(gateway.target("viewer"), "/v1/events", {"after": 0})
    (text,) = line.receive()
    assert json.loads(text)["kind"] == "x"
    line.close()
    until(lambda: hub._followers == 0)


def read(line: WebSocket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        found = line.receive()
        assert found, "the line ended"
        data += b"".join(piece for piece in found if isinstance(piece, bytes))
    return data


def test_consoles_pass_through(gateway: Gateway) -> None:
    line = WebSocket(gateway.target("operator"), "/v1/guests/web/console")
    assert read(line, 9) == b"history\r\n"
    line.send(b"ls\r")
    until(lambda: bool(gateway.api.engine.lines))
    theirs = gateway.api.engine.lines[0]
    assert theirs.recv(10) == b"ls\r"
    gateway.api.engine.stop("web")
    assert json.loads(str(line.receive()[0]))["event"] == "ended"
    assert line.receive() == []
    assert line.code == 4003
    line.close()
    with pytest.raises(Refused, match="there is no guest 'none'"):
        WebSocket(gateway.target("operator"), "/v1/guests/none/console")
    with pytest.raises(Refused, match="needs operator"):
        WebSocket(gateway.target("viewer"), "/v1/guests/web/console")


def test_a_console_nobody_reads_stalls_nobody_else(gateway: Gateway) -> None:
    slow = WebSocket(gateway.target("operator"), "/v1/guests/web/console")
    first = gateway.api.engine.lines[0]
    first.setblocking(False)
    sent, quiet = 0, 0
    while quiet < 20:
        try:
            sent += first.send(b"x" * 65_536)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.02)
        assert sent < 32 << 20, "somebody buffers without end"
    other = WebSocket(gateway.target("operator"), "/v1/guests/web/console", {"write": False})
    gateway.api.engine.lines[1].sendall(b"alive")
    assert read(other, 14).endswith(b"alive")
    assert len(read(slow, sent)) >= sent
    slow.close()
    other.close()


def test_a_caller_who_goes_takes_his_console_with_him(gateway: Gateway) -> None:
    line = WebSocket(gateway.target("operator"), "/v1/guests/web/console")
    line._socket.close()
    theirs = gateway.api.engine.lines[0]
    theirs.settimeout(60)
    assert theirs.recv(1) == b""


def test_without_skepd_it_says_so(gateway: Gateway) -> None:
    target = gateway.target()
    gateway.api.server.should_exit = True
    gateway.api._thread.join(60)
    with pytest.raises(Refused, match="skepd does not answer") as caught:
        Client(target).get("guests")
    assert caught.value.status == 502
    with pytest.raises(Refused, match="skepd does not answer"):
        WebSocket(target, "/v1/events")
    with pytest.raises(Refused) as caught:
        Client(target).request("GET", "/healthz")
    assert caught.value.status == 503


def test_many_callers_at_once(gateway: Gateway) -> None:
    target, wrong = gateway.target(), []

    def call() -> None:
        with Client(target) as client:
            names = [client.get("guests", "web")["name"] for _ in range(5)]
            wrong.extend(name for name in names if name != "web")

    callers = [threading.Thread(target=call) for _ in range(20)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not wrong


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(gateway: Gateway) -> None:
    context = gateway.target().context()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), socket.create_connection(("localhost", gateway.port), 30) as plain:
        context.wrap_socket(plain, server_hostname="localhost")


# --- configuration ----------------------------------------------------------------------------------------------


def refusal(tmp_path: Path, *options: str) -> str:
    with pytest.raises(main.Refused) as caught:
        main.run(main._parser(here().places).parse_args(["--state", str(tmp_path / "s"), *options]))
    return str(caught.value)


def test_what_it_refuses_to_serve(tmp_path: Path) -> None:
    assert "only loopback" in refusal(tmp_path, "--plain", "--listen", "0.0.0.0:0")
    assert "only loopback" in refusal(tmp_path, "--plain", "--listen", "127.0.0.1:0", "--listen", "[::]:0")
    assert "go together" in refusal(tmp_path, "--certificate", "x")
    assert "is not an address" in refusal(tmp_path, "--listen", "everywhere")
    assert "is not an address" in refusal(tmp_path, "--listen", "127.0.0.1:70000")
    if os.geteuid() == 0:
        assert "root is not needed" in refusal(tmp_path, "--listen", "127.0.0.1:0")
    assert not (tmp_path / "s").exists()


def test_the_certificate_is_made_once_and_anew_for_a_new_name(tmp_path: Path) -> None:
    first = certificates.ensure(tmp_path, ["localhost", "::1", "10.0.0.1"])
    ca, server = first.ca.read_bytes(), first.server.read_bytes()
    assert first.server.stat().st_mode & 0o777 == (tmp_path / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE KEY" not in ca
    certificates.ensure(tmp_path, ["10.0.0.1", "localhost"])
    assert first.server.read_bytes() == server
    certificates.ensure(tmp_path, ["localhost", "hive.example.org"])
    assert first.ca.read_bytes() == ca
    assert first.server.read_bytes() != server
    text = subprocess.run(
        ["openssl", "x509", "-in", str(first.server), "-noout", "-text"], capture_output=True, check=True
    ).stdout.decode()
    assert "DNS:hive.example.org, DNS:localhost" in text
    assert "prime256v1" in text
    assert {path.name for path in tmp_path.iterdir()} == {"ca.pem", "ca-key.pem", "server.pem"}


def test_a_certificate_that_ends_soon_is_made_anew_while_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "SERVER_DAYS", 29)
        pair = certificates.ensure(tmp_path, ["localhost"])
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(pair.server)
    before = presented(served, pair.ca)
    main.renew(tmp_path, {"localhost"}, served)
    after = presented(served, pair.ca)
    assert after != before
    main.renew(tmp_path, {"localhost"}, served)
    assert presented(served, pair.ca) == after, "one that holds is kept"


def presented(served: ssl.SSLContext, ca: Path) -> bytes:
    """The certificate that a new connection is shown."""
    client = ssl.create_default_context(cafile=str(ca))
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = served.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        with contextlib.suppress(ssl.SSLWantReadError):
            side.do_handshake()
    found = ours.getpeercert(binary_form=True)
    assert found is not None
    return found


def test_a_lost_ca_makes_a_new_pair_that_fits(tmp_path: Path) -> None:
    pair = certificates.ensure(tmp_path, ["localhost"])
    (tmp_path / "ca-key.pem").unlink()
    certificates.ensure(tmp_path, ["localhost"])
    argv = ["openssl", "verify", "-CAfile", str(pair.ca), str(pair.server)]
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["a b", "x,DNS:evil", "x\nDNS:evil", "-x", "", "a" * 64, "ü.example"])
def test_a_name_cannot_smuggle_anything_into_a_certificate(tmp_path: Path, name: str) -> None:
    with pytest.raises(certificates.CertificateError, match="neither a host name nor an address"):
        certificates.ensure(tmp_path, ["localhost", name])


def test_headers_of_the_connection_stay_behind() -> None:
    scope = {
        "headers": [
            (b"host", b"hive:8443"),
            (b"x-skep-peer", b"6.6.6.6"),
            (b"x-skep-scheme", b"http"),
            (b"x-skep", b"1"),
            (b"cookie", b"__Host-skep=x"),
            (b"authorization", b"Bearer x"),
            (b"connection", b"close, X-Secret"),
            (b"x-secret", b"1"),
            (b"x-forwarded-for", b"6.6.6.6"),
            (b"transfer-encoding", b"chunked"),
            (b"upgrade", b"h2c"),
        ],
        "client": ("10.0.0.1", 4),
        "scheme": "https",
    }
    assert upstream.request_headers(scope) == [
        (b"host", b"hive:8443"),
        (b"x-skep", b"1"),
        (b"cookie", b"__Host-skep=x"),
        (b"authorization", b"Bearer x"),
        (b"transfer-encoding", b"chunked"),
        (b"x-skep-scheme", b"https"),
        (b"x-skep-peer", b"10.0.0.1"),
    ]
    assert (b"authorization", b"Bearer") in upstream.request_headers({"headers": []})
