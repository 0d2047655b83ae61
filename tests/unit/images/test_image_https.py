"""https: a CA file of the site, no foreign certificate, and never from https to http."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from image_doubles import FAST, FolderHost, Misdeed, Published, ScriptedServer
from skepd.images.pull import PullError, pull

Serve = Callable[..., ScriptedServer]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=mirror"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return certificate, key


def secure(serve: Serve, published: Published, pair: tuple[Path, Path], misdeed: Misdeed | None = None) -> str:
    """The URL of a server that speaks TLS."""
    server = serve(published.folder, misdeed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    return server.url.replace("http:", "https:")


def test_a_ca_file_is_trusted(
    host: FolderHost, published: Published, serve: Serve, certificate: tuple[Path, Path]
) -> None:
    url = secure(serve, published, certificate)
    pull(host, "small", "1.0", [url], published.signers, options=replace(FAST, ca_file=certificate[0]))
    assert (host.folder / "visible" / "small:1.0").read_bytes() == published.content


def test_an_unknown_certificate_is_refused(
    host: FolderHost, published: Published, serve: Serve, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(PullError, match="certificate verify failed"):
        pull(host, "small", "1.0", [secure(serve, published, certificate)], published.signers, options=FAST)
    assert host.parts == []


def test_no_way_leads_from_https_to_http(
    host: FolderHost, published: Published, serve: Serve, certificate: tuple[Path, Path]
) -> None:
    plain = serve(published.folder)
    url = secure(
        serve,
        published,
        certificate,
        lambda handler: handler.is_range and handler.answer(302, b"", Location=plain.url + handler.path),
    )
    with pytest.raises(PullError, match="redirects from https to http"):
        pull(host, "small", "1.0", [url], published.signers, options=replace(FAST, ca_file=certificate[0]))
    assert plain.asked == []


def test_a_ca_file_that_is_none_is_named(host: FolderHost, published: Published, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("nothing")
    with pytest.raises(PullError, match=r"wrong\.pem: cannot be read as certificates"):
        pull(host, "small", "1.0", ["https://mirror"], published.signers, options=replace(FAST, ca_file=wrong))
