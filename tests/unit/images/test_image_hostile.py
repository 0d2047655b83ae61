"""Mirrors that misbehave in every way we could think of: alone they end the pull, beside a good one they do not."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from image_doubles import FAST, FolderHost, Misdeed, Published, ScriptedHandler, ScriptedServer, signer_line
from skep.images import signature
from skep.images.manifest import CHUNK, encode
from skepd.images.options import Options
from skepd.images.pull import PullError, pull

Serve = Callable[..., ScriptedServer]


def on_ranges(act: Callable[[ScriptedHandler], bool]) -> Misdeed:
    return lambda handler: handler.is_range and act(handler)


def cut(handler: ScriptedHandler) -> bool:
    body = handler.content()
    handler.answer(206, body[: len(body) // 2], Content_Length=str(len(body)))
    return handler.drop()


def hang_in_body(handler: ScriptedHandler) -> bool:
    body = handler.content()
    handler.answer(206, body[:1000], Content_Length=str(len(body)))
    handler.sleep()
    return handler.drop()


def trickle(handler: ScriptedHandler) -> bool:
    """A byte now and then: never silent for long, and never done."""
    body = handler.content()
    handler.answer(206, b"", Content_Length=str(len(body)))
    end = time.monotonic() + 30
    while time.monotonic() < end and not handler.server.over.is_set():
        handler.wfile.write(body[:1])
        time.sleep(0.1)
    return handler.drop()


def hang(handler: ScriptedHandler) -> bool:
    handler.sleep()
    return handler.drop()


def shifted(handler: ScriptedHandler) -> bool:
    first, last = handler.wanted
    return handler.answer(206, handler.content(), Content_Range=f"bytes {first + 1}-{last + 1}/{handler.total()}")


def other_total(handler: ScriptedHandler) -> bool:
    first, last = handler.wanted
    return handler.answer(206, handler.content(), Content_Range=f"bytes {first}-{last}/{handler.total() + 1}")


def chunked(handler: ScriptedHandler) -> bool:
    body = handler.content()
    framed = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    return handler.answer(206, framed, Content_Length="", Transfer_Encoding="chunked")


def zipped(handler: ScriptedHandler) -> bool:
    return handler.answer(206, gzip.compress(handler.content(), 0), Content_Encoding="gzip")


def raw(data: bytes) -> Callable[[ScriptedHandler], bool]:
    def act(handler: ScriptedHandler) -> bool:
        handler.wfile.write(data)
        return handler.drop()

    return act


def endless_headers(handler: ScriptedHandler) -> bool:
    handler.wfile.write(b"HTTP/1.1 206 Partial Content\r\n")
    for number in range(200_000):
        if handler.server.over.is_set():
            break
        handler.wfile.write(b"X-%d: y\r\n" % number)
    return handler.drop()


MISDEEDS: dict[str, tuple[Callable[[ScriptedHandler], bool], str]] = {
    "200 for 206": (lambda handler: handler.answer(200, handler.content()), "ignores ranges"),
    "no Content-Range": (lambda handler: handler.answer(206, handler.content(), Content_Range=""), "sends ''"),
    "shifted Content-Range": (shifted, "sends 'bytes"),
    "other total": (other_total, "sends 'bytes"),
    "nonsense Content-Range": (lambda h: h.answer(206, h.content(), Content_Range="bytes a-b/*"), "sends 'bytes a-b"),
    "short length": (lambda h: h.answer(206, h.content()[:-1]), "announces"),
    "long length": (lambda h: h.answer(206, h.content() + b"x"), "announces"),
    "no length": (lambda h: h.answer(206, h.content(), Content_Length="") and h.drop(), "announces"),
    "negative length": (lambda h: h.answer(206, h.content(), Content_Length="-5") and h.drop(), "announces"),
    "chunked": (chunked, "announces None"),
    "compressed": (zipped, "encoded as 'gzip'"),
    "cut body": (cut, "cut off after"),
    "flipped bit": (lambda h: h.answer(206, bytes([h.content()[0] ^ 1]) + h.content()[1:]), "is not what was signed"),
    "zeros": (lambda h: h.answer(206, bytes(len(h.content()))), "is not what was signed"),
    "hang before the answer": (hang, "sent nothing for"),
    "hang in the body": (hang_in_body, "sent nothing for"),
    "trickle": (trickle, "is slower than"),
    "404": (lambda handler: handler.answer(404, b"gone"), "answers 404"),
    "416": (lambda handler: handler.answer(416, b""), "answers 416"),
    "500": (lambda handler: handler.answer(500, b"sorry"), "answers 500"),
    "redirect to itself": (lambda h: h.answer(302, b"", Location=h.path), "redirects more than"),
    "redirect to a file": (lambda h: h.answer(302, b"", Location="file:///etc/passwd"), "not http or https"),
    "redirect to nowhere": (lambda h: h.answer(302, b""), "without saying where"),
    "hang up": (lambda handler: handler.drop(), "closed connection without response"),
    "nonsense": (raw(b"\x00\xff not HTTP at all\r\n\r\n"), "not HTTP"),
    "one endless line": (raw(b"HTTP/1.1 206 " + b"x" * 200_000), "more than 65536 bytes|reset by peer"),
    "endless headers": (endless_headers, "more than 100 headers|reset by peer"),
    "endless 100": (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000), "closed connection|reset by peer"),
}
_PATIENCE = {
    "hang before the answer": replace(FAST, stall_seconds=0.5, tries=1),
    "hang in the body": replace(FAST, stall_seconds=0.5, tries=1),
    "trickle": replace(FAST, connect_seconds=0.5, stall_seconds=1, tries=1, minimum_rate=64 << 20),
}


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_alone_it_ends_the_pull(host: FolderHost, published: Published, serve: Serve, misdeed: str) -> None:
    act, said = MISDEEDS[misdeed]
    server = serve(published.folder, on_ranges(act))
    options = _PATIENCE.get(misdeed, FAST)
    with pytest.raises(PullError, match=said) as caught:
        pull(host, "small", "1.0", [server.url], published.signers, options=options)
    assert "chunk " in str(caught.value)
    assert server.url in str(caught.value)
    assert host.visible == []
    follows = 6 if misdeed == "redirect to itself" else 1
    assert len(server.ranges) <= options.tries * 5 * follows


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_beside_a_good_mirror_it_does_no_harm(
    host: FolderHost, published: Published, serve: Serve, misdeed: str
) -> None:
    bad, good = serve(published.folder, on_ranges(MISDEEDS[misdeed][0])), serve(published.folder)
    pull(host, "small", "1.0", [bad.url, good.url], published.signers, options=FAST)
    assert (host.folder / "visible" / "small:1.0").read_bytes() == published.content
    assert bad.ranges


@pytest.mark.parametrize("version", ["1.0", "1.0+zst"])
def test_no_byte_may_differ(host: FolderHost, published: Published, serve: Serve, version: str) -> None:
    """Also the last byte of the last chunk, and also before zstd sees it."""

    def flip(handler: ScriptedHandler) -> bool:
        body = handler.content()
        return handler.answer(206, body[:-1] + bytes([body[-1] ^ 0x80]))

    with pytest.raises(PullError, match="is not what was signed"):
        pull(host, "small", version, [serve(published.folder, on_ranges(flip)).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], [])


def test_a_mirror_that_is_not_there(host: FolderHost, published: Published, serve: Serve) -> None:
    gone = serve(published.folder)
    gone.stop()
    with pytest.raises(PullError, match=r"no mirror has a manifest.*refused"):
        pull(host, "small", "1.0", [gone.url], published.signers, options=FAST)
    pull(host, "small", "1.0", [gone.url, serve(published.folder).url], published.signers, options=FAST)
    assert host.visible == ["small:1.0"]


def test_a_redirect_to_another_server_is_followed(host: FolderHost, published: Published, serve: Serve) -> None:
    target = serve(published.folder)
    origin = serve(published.folder, lambda handler: handler.answer(307, b"", Location=target.url + handler.path))
    pull(host, "small", "1.0", [origin.url], published.signers, options=FAST)
    assert host.visible == ["small:1.0"]
    assert len(target.ranges) == 4
    # Where it led is remembered: a worker asks the first server once.
    assert len(origin.ranges) <= FAST.connections


def test_one_bad_chunk_is_taken_from_elsewhere(host: FolderHost, published: Published, serve: Serve) -> None:
    def one(handler: ScriptedHandler) -> bool:
        return handler.wanted[0] == CHUNK and handler.answer(206, bytes(CHUNK))

    mirrors = [
        serve(published.folder, on_ranges(one)),
        serve(published.folder, on_ranges(one)),
        serve(published.folder),
    ]
    pull(host, "small", "1.0", [mirror.url for mirror in mirrors], published.signers, options=FAST)
    assert (host.folder / "visible" / "small:1.0").read_bytes() == published.content


def test_a_kept_connection_that_was_closed_is_no_failure(host: FolderHost, published: Published, serve: Serve) -> None:
    def close_after(handler: ScriptedHandler) -> bool:
        handler.answer(206, handler.content())
        return handler.drop()

    once = Options(tries=1, connections=1)
    pull(host, "small", "1.0", [serve(published.folder, on_ranges(close_after)).url], published.signers, options=once)
    assert host.visible == ["small:1.0"]


# Manifests.


def web(tmp_path: Path, published: Published, manifest: bytes, signed: bytes) -> Path:
    """A folder that offers these bytes as small 1.0."""
    folder = tmp_path / "web"
    place = folder / "small" / "1.0"
    place.mkdir(parents=True)
    (place / "manifest.json").write_bytes(manifest)
    (place / "manifest.json.sig").write_bytes(signed)
    (place / "small-1.0.raw").symlink_to(published.source)
    return folder


def refused(host: FolderHost, published: Published, serve: Serve, folder: Path, said: str) -> None:
    server = serve(folder)
    with pytest.raises(PullError, match=said) as caught:
        pull(host, "small", "1.0", [server.url], published.signers, options=FAST)
    assert server.url in str(caught.value)
    assert (host.visible, host.parts) == ([], [])
    assert server.ranges == []


def test_an_older_version_is_refused_though_validly_signed(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    older = encode(replace(published.manifest, version="0.9"))
    folder = web(tmp_path, published, older, signature.sign(older, published.key))
    refused(host, published, serve, folder, "validly signed, but of small 0.9 and not of small 1.0")


def test_another_name_is_refused_though_validly_signed(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    other = encode(replace(published.manifest, name="large"))
    folder = web(tmp_path, published, other, signature.sign(other, published.key))
    refused(host, published, serve, folder, "validly signed, but of large 1.0")


def test_an_unknown_key_is_refused(host: FolderHost, published: Published, serve: Serve, tmp_path: Path) -> None:
    data = encode(published.manifest)
    folder = web(tmp_path, published, data, signature.sign(data, published.stranger))
    refused(host, published, serve, folder, "signing key is not in")


def test_a_tampered_manifest_is_refused(host: FolderHost, published: Published, serve: Serve, tmp_path: Path) -> None:
    data = encode(published.manifest)
    tampered = data.replace(published.manifest.chunks[0].encode(), b"0" * 64)
    assert tampered != data
    folder = web(tmp_path, published, tampered, signature.sign(data, published.key))
    refused(host, published, serve, folder, "does not match what was signed")


def test_a_signature_of_another_image_is_refused(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    data = encode(published.manifest)
    signed = (published.folder / "small" / "2.0" / "manifest.json.sig").read_bytes()
    refused(host, published, serve, web(tmp_path, published, data, signed), "does not match what was signed")


@pytest.mark.parametrize("signed", [b"", b"nonsense", b"-----BEGIN SSH SIGNATURE-----\nAAAA\n", b"x" * 100_000])
def test_a_broken_signature_is_refused(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path, signed: bytes
) -> None:
    data = encode(published.manifest)
    refused(host, published, serve, web(tmp_path, published, data, signed), "sign|more than")


def test_signed_nonsense_is_refused(host: FolderHost, published: Published, serve: Serve, tmp_path: Path) -> None:
    data = b'{"skep_image": 1, "path": "../../etc"}\n'
    folder = web(tmp_path, published, data, signature.sign(data, published.key))
    refused(host, published, serve, folder, "unknown key 'path'")


def test_a_whole_that_contradicts_the_chunks_is_abandoned(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    data = encode(replace(published.manifest, sha256="0" * 64))
    folder = web(tmp_path, published, data, signature.sign(data, published.key))
    image = folder / "small" / "1.0" / "small-1.0.raw"
    image.unlink()
    image.write_bytes(published.content)
    with pytest.raises(PullError, match="the whole is not"):
        pull(host, "small", "1.0", [serve(folder).url], published.signers, options=FAST)
    assert (host.visible, host.parts) == ([], [])


def test_an_endless_manifest_is_cut(
    host: FolderHost, published: Published, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(handler: ScriptedHandler) -> bool:
        if not handler.path.endswith("manifest.json"):
            return False
        handler.answer(200, b"", Content_Length="")
        while not handler.server.over.is_set():
            handler.wfile.write(b" " * 65536)
        return handler.drop()

    monkeypatch.setattr("skepd.images.pull.LARGEST_MANIFEST", 1 << 20)
    with pytest.raises(PullError, match="sent more than 1048576 bytes"):
        pull(host, "small", "1.0", [serve(published.folder, endless).url], published.signers, options=FAST)


def test_a_hanging_manifest_is_left_for_the_next_mirror(host: FolderHost, published: Published, serve: Serve) -> None:
    quick = replace(FAST, manifest_seconds=1, stall_seconds=30)
    lines: list[str] = []
    bad = serve(published.folder, hang)
    good = serve(published.folder)
    pull(host, "small", "1.0", [bad.url, good.url], published.signers, options=quick, log=lines.append)
    assert host.visible == ["small:1.0"]
    assert f"from {bad.url}: did not answer completely" in lines[0]


def test_a_mirror_with_an_older_manifest_does_not_win(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    older = encode(replace(published.manifest, version="0.9"))
    bad = serve(web(tmp_path, published, older, signature.sign(older, published.key)))
    pull(host, "small", "1.0", [bad.url, serve(published.folder).url], published.signers, options=FAST)
    assert (host.folder / "visible" / "small:1.0").read_bytes() == published.content


def test_a_key_for_something_else_is_refused(
    host: FolderHost, published: Published, serve: Serve, tmp_path: Path
) -> None:
    signers = tmp_path / "signers"
    signers.write_text(signer_line("images@example.org", published.key, 'namespaces="git"'))
    with pytest.raises(PullError, match="may not sign images"):
        pull(host, "small", "1.0", [serve(published.folder).url], signers, options=FAST)
    assert host.parts == []
