"""The browser's pages: read once into memory, sent as they are, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .answers import Headers, answer, refuse

BUILT = Path(__file__).resolve().parents[1] / "web"
INDEX = "index.html"
NOT_PAGES = frozenset(("digest", "manifest"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY: Headers = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
FOR_EVER, ASK_AGAIN = b"public, max-age=31536000, immutable", b"no-cache"
MISSING = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Skep</title>
<h1>The pages of Skep are not built</h1>
<p>The API under /v1 works, and so does the command line <code>skep</code>.</p>
<p>In a checkout, <code>python tools/web_build.py</code> builds the pages; then start skep-gateway again.
A released package has them inside: install it again.</p></html>
"""


@dataclass(frozen=True)
class Page:
    """A file. packed: the same, compressed by gzip; None where that gains nothing."""

    media: bytes
    plain: bytes
    packed: bytes | None
    etag: bytes
    cache: bytes


class Pages:
    """Answers GET and HEAD outside of /v1. Knows nothing but its own files: no path reaches the file system."""

    def __init__(self, folder: Path = BUILT) -> None:
        self._pages = dict(load(folder))
        self._built = bool(self._pages)

    def offer(self, path: str, media: str, content: bytes) -> None:
        """Serve one more file, which is no part of the build."""
        self._pages[path] = Page(media.encode(), content, None, _etag(content), ASK_AGAIN)

    async def __call__(self, scope: Any, send: Any) -> None:
        extra = [*SECURITY, STRICT_TRANSPORT] if scope["scheme"] == "https" else SECURITY
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(scope, send, 405, f"{scope['method']} is not possible here; the API is under /v1")
            return
        page = find(self._pages, scope["path"])
        if page is not None:
            await _send(page, scope, send, extra)
        elif self._built:
            await refuse(scope, send, 404, f"there is nothing at {scope['path']}", extra)
        else:
            headers: Headers = [(b"cache-control", b"no-store"), *extra]
            await answer(send, 503, b"text/html; charset=utf-8", MISSING, headers=headers)


def load(folder: Path) -> Mapping[str, Page]:
    """All pages of a build by path; none if nothing was built."""
    if not (folder / INDEX).is_file():
        return {}
    return {f"/{path.relative_to(folder).as_posix()}": _read(path, folder) for path in _files(folder)}


def find(pages: Mapping[str, Page], path: str) -> Page | None:
    """The file of this path; the first page for all that may be a place within the pages."""
    if "." in path.rpartition("/")[2] or path.startswith("/assets/"):
        return pages.get(path)
    return pages.get(f"/{INDEX}")


def _files(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if path.suffix != ".gz" and path.name not in NOT_PAGES]


def _read(path: Path, folder: Path) -> Page:
    plain, packed = path.read_bytes(), path.with_name(path.name + ".gz")
    media = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if path.suffix == ".js":
        media = "text/javascript"  # some systems' tables say otherwise, and browsers then refuse modules
    text = media.startswith("text/")
    return Page(
        media=media.encode() + (b"; charset=utf-8" if text else b""),
        plain=plain,
        packed=packed.read_bytes() if packed.exists() else None,
        etag=_etag(plain),
        cache=FOR_EVER if path.parent == folder / "assets" else ASK_AGAIN,
    )


def _etag(content: bytes) -> bytes:
    return b'"' + hashlib.sha256(content).hexdigest()[:32].encode() + b'"'


async def _send(page: Page, scope: Any, send: Any, extra: Headers) -> None:
    asked = dict(scope["headers"])
    headers: Headers = [(b"etag", page.etag), (b"cache-control", page.cache), (b"vary", b"accept-encoding"), *extra]
    if page.etag in (tag.strip().removeprefix(b"W/") for tag in asked.get(b"if-none-match", b"").split(b",")):
        await answer(send, 304, page.media, b"", headers=headers)
        return
    body = page.plain
    if page.packed is not None and b"gzip" in asked.get(b"accept-encoding", b""):
        body = page.packed
        headers.append((b"content-encoding", b"gzip"))
    await answer(send, 200, page.media, body, headers=headers)
