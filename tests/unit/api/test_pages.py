"""The browser's pages as the gateway serves them, and the rules that their build keeps."""

from __future__ import annotations

import asyncio
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from skepd.gateway.pages import Pages

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    assets = tmp_path / "built" / "assets"
    assets.mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("not for you")
    for path, text in ((assets.parent / "index.html", "<h1>first</h1>" * 9), (assets / "a-1.js", "let a = 1;\n" * 9)):
        path.write_text(text)
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (assets.parent / "digest").write_text("x")
    return assets.parent


def ask(folder: Path, path: str, method: str = "GET", scheme: str = "http", **headers: str) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer."""
    return asked(Pages(folder), path, method, scheme, **headers)


def asked(pages: Pages, path: str, method: str = "GET", scheme: str = "http", **headers: str) -> tuple[int, Any, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "scheme": scheme, "headers": raw}
    asyncio.run(pages(scope, send))
    answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answered, sent[1]["body"]


@pytest.mark.parametrize("path", ["/", "/guests", "/guests/web/screen", "/index.html"])
def test_places_within_the_pages_are_the_first_page(folder: Path, path: str) -> None:
    status, headers, body = ask(folder, path)
    assert (status, body) == (200, (folder / "index.html").read_bytes())
    assert headers["cache-control"] == "no-cache"
    assert headers["content-type"] == "text/html; charset=utf-8"


def test_a_policy_that_allows_nothing_from_elsewhere(folder: Path) -> None:
    for path in ("/", "/assets/a-1.js", "/assets/none.js"):
        headers = ask(folder, path)[1]
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in headers
    assert "max-age" in ask(folder, "/", scheme="https")[1]["strict-transport-security"]


def test_assets_are_kept_for_ever_and_sent_as_they_were_packed(folder: Path) -> None:
    status, headers, body = ask(folder, "/assets/a-1.js", accept_encoding="gzip, br")
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert gzip.decompress(body) == (folder / "assets" / "a-1.js").read_bytes()
    assert "immutable" in headers["cache-control"]
    assert headers["content-type"] == "text/javascript; charset=utf-8"
    assert "content-encoding" not in ask(folder, "/assets/a-1.js")[1]


def test_who_has_a_page_already_is_told_so(folder: Path) -> None:
    etag = ask(folder, "/")[1]["etag"]
    status, headers, body = ask(folder, "/", if_none_match=f'"other", {etag}')
    assert (status, body, headers["etag"]) == (304, b"", etag)
    assert ask(folder, "/", if_none_match='"other"')[0] == 200


@pytest.mark.parametrize(
    "path", ["/assets/none.js", "/assets/", "/robots.txt", "/../secret.txt", "/assets/../../secret.txt", "/x/digest.gz"]
)
def test_nothing_else_is_there(folder: Path, path: str) -> None:
    status, _, body = ask(folder, path)
    assert status == 404
    assert b"not for you" not in body


def test_the_digest_of_the_build_is_not_a_page(folder: Path) -> None:
    assert ask(folder, "/digest")[2] == (folder / "index.html").read_bytes()


def test_nothing_is_taken(folder: Path) -> None:
    assert ask(folder, "/", method="POST")[0] == 405


def test_without_a_build_the_page_says_what_to_do(tmp_path: Path) -> None:
    status, headers, body = ask(tmp_path, "/")
    assert status == 503
    assert b"tools/web_build.py" in body
    assert headers["cache-control"] == "no-store"


def test_the_lock_file_names_no_registry() -> None:
    packages = json.loads((ROOT / "web" / "package-lock.json").read_text())["packages"]
    assert len(packages) > 20
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or "integrity" in package, name


def test_one_more_file_is_offered_beside_the_build(folder: Path, tmp_path: Path) -> None:
    for built, elsewhere in ((folder, 404), (tmp_path / "nothing", 503)):
        pages = Pages(built)
        pages.offer("/ca.pem", "application/x-pem-file", b"certificate")
        assert asked(pages, "/ca.pem")[::2] == (200, b"certificate")
        assert asked(pages, "/key.pem")[0] == elsewhere
