"""Certificates by ACME: the gateway against a CA that checks everything, and one that fails."""

from __future__ import annotations

import contextlib
import http.client
import logging
import os
import shutil
import signal
import socket
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from acme_server import Authority
from skepd.gateway import main as gateway_main
from skepd.gateway.certificates import CertificateError, ensure
from skepd.gateway.challenge_door import ChallengeDoor
from skepd.gateway.issuing import LOOK_EVERY, Issuer, Keeper, context_of
from test_gateway import free_port, start, until

NAME, OTHER = "hive.example.org", "console.example.org"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short, and for a user without power to enter."""
    path = Path(tempfile.mkdtemp(prefix="skep-acme-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def authority(folder: Path) -> Iterator[Authority]:
    (folder / "ca").mkdir()
    made = Authority(folder / "ca")
    yield made
    made.close()


@pytest.fixture
def issuer(folder: Path, authority: Authority) -> Iterator[Issuer]:
    """With its door open, in this process."""
    door = ChallengeDoor(frozenset({NAME}), 8443)
    listener = socket.create_server(("127.0.0.1", 0))
    authority.challenge_port = listener.getsockname()[1]
    door.serve([listener])
    state = folder / "state"
    state.mkdir()
    yield issuer_of(state, authority, door)
    listener.close()


def issuer_of(state: Path, authority: Authority, door: ChallengeDoor, *names: str) -> Issuer:
    return Issuer(
        folder=state, directory=authority.directory, names=frozenset(names or {NAME}), mail="root@example.org",
        trust=authority.pair.ca, door=door,
    )  # fmt: skip


def served(port: int, name: str, trust: Path) -> str:
    """The issuer of what a client that trusts this CA gets, asking for this name."""
    context = ssl.create_default_context(cafile=str(trust))
    with (
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        context.wrap_socket(raw, server_hostname=name) as line,
    ):
        issuer = dict(pair[0] for pair in line.getpeercert()["issuer"])
        return issuer["commonName"]


def test_the_gateway_gets_a_certificate_and_keeps_its_own_beside_it(folder: Path, authority: Authority) -> None:
    door = authority.challenge_port = free_port()
    options = ["--acme", authority.directory, "--acme-ca", str(authority.pair.ca), "--name", NAME, "--name", OTHER]
    process, port = start(folder / "skepd.sock", folder, *options, "--acme-listen", f"127.0.0.1:{door}")
    try:
        until(lambda: (folder / "state" / "acme.pem").exists() or process.poll() is not None)
        root = authority.root_file(folder)
        until(lambda: works(port, NAME, root))
        assert served(port, NAME, root) == served(port, OTHER, root) == "Test CA"
        assert sorted(authority.fetched) == sorted([NAME, OTHER])
        own = folder / "state" / "ca.pem"
        assert served(port, "localhost", own).startswith("Skep CA")
        assert not works(port, "localhost", root)
        for name in ("acme.pem", "acme-account.pem"):
            assert (folder / "state" / name).stat().st_mode & 0o777 == 0o600
        (account,) = authority.accounts.values()
        assert account["contact"] == []
        assert asked(door, NAME, "/guests?x=1") == (308, f"https://{NAME}:{port}/guests")
        assert asked(door, "evil.example", "/")[0] == 404
        assert asked(door, NAME, "/.well-known/acme-challenge/x")[0] == 404
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert process.stderr is not None
        process.stderr.close()


def works(port: int, name: str, trust: Path) -> bool:
    with contextlib.suppress(ssl.SSLError):
        served(port, name, trust)
        return True
    return False


def asked(port: int, host: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("location", "")
    finally:
        connection.close()


def test_one_account_for_all_certificates(issuer: Issuer, authority: Authority) -> None:
    assert issuer.due()
    issuer.obtain()
    first = issuer.certificate.read_bytes()
    issuer.obtain()
    assert issuer.certificate.read_bytes() != first
    assert len(authority.accounts) == 1
    assert next(iter(authority.accounts.values()))["contact"] == ["mailto:root@example.org"]
    assert issuer.door.answers == {}


def test_it_is_renewed_when_a_third_of_its_life_is_left(issuer: Issuer, authority: Authority) -> None:
    issuer.obtain()
    assert not issuer.due()
    assert issuer_of(issuer.folder, authority, issuer.door, NAME, OTHER).due()
    authority.days = 0.0003  # 26 s, with the minute before it: less than a third is left
    issuer.obtain()
    assert issuer.due()
    issuer.certificate.write_bytes(b"something else")
    assert issuer.due()


def test_what_the_ca_refuses_is_said_and_the_old_one_stays(issuer: Issuer, authority: Authority) -> None:
    issuer.obtain()
    before = issuer.certificate.read_bytes()
    authority.refuse = "too many certificates for this name"
    with pytest.raises(CertificateError, match="too many certificates for this name"):
        issuer.obtain()
    authority.refuse, authority.challenge_port = "", free_port()
    with pytest.raises(CertificateError, match="nothing answers there"):
        issuer.obtain()
    assert issuer.certificate.read_bytes() == before
    assert sorted(path.name for path in issuer.folder.iterdir()) == ["acme-account.pem", "acme.pem"]


def test_a_chain_of_another_key_is_not_put_in_place(issuer: Issuer, authority: Authority) -> None:
    issuer.obtain()
    before = issuer.certificate.read_bytes()
    authority.foreign = True
    with pytest.raises(CertificateError, match="no certificate with its key"):
        issuer.obtain()
    assert issuer.certificate.read_bytes() == before
    context_of(issuer.certificate)


def test_a_ca_that_is_not_trusted_gets_nothing(issuer: Issuer, authority: Authority, folder: Path) -> None:
    other = ensure(folder / "state", ["localhost"]).ca
    with pytest.raises(CertificateError, match=r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"):
        Issuer(
            folder=issuer.folder, directory=authority.directory, names=issuer.names, trust=other, door=issuer.door
        ).obtain()
    assert authority.accounts == {}


def test_failures_are_tried_again_more_and_more_rarely(
    issuer: Issuer, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    authority.refuse = "not today"
    keeper = Keeper(issuer)
    keeper.load()
    waits = [keeper.look() for _ in range(7)]
    assert waits[:3] == [LOOK_EVERY, 2 * LOOK_EVERY, 4 * LOOK_EVERY]
    assert waits[-1] == 86_400
    assert "not today; trying again in 1 h" in caplog.text
    authority.refuse = ""
    caplog.set_level(logging.INFO)
    assert keeper.look() == LOOK_EVERY
    assert "the certificate is there" in caplog.text
    assert len(authority.issued) == 1
    assert keeper.look() == LOOK_EVERY
    assert len(authority.issued) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--acme", "letsencrypt"], "needs the names"),
        (["--acme", "letsencrypt", "--name", "192.0.2.1"], "needs the names"),
        (["--acme", "letsencrypt", "--name", NAME, "--plain"], "leave --plain and --certificate out"),
        (["--acme", "letsencrypt", "--name", "x,DNS:evil"], "neither a host name nor an address"),
    ],
)
def test_options_that_do_not_fit(words: list[str], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    assert gateway_main.main([*words, *user, "--check"]) == 78
    assert reason in caplog.text
