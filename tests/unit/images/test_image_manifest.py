"""The manifest: one sequence of bytes for one meaning, everything else refused with its place."""

from __future__ import annotations

import hashlib
import json
import typing
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skep.images import manifest as module
from skep.images.folder import encode_index, parse_index
from skep.images.manifest import CHUNK, Frames, Manifest, ManifestError, encode, parse
from skep_helper.vocabulary import OpenImageWriter, ReceiveImage
from skep_helper.vocabulary.fields import Rejected
from skep_helper.vocabulary.storage import IMAGE_FORMATS

DIGEST = hashlib.sha256(b"x").hexdigest()
SMALL = Manifest(
    name="small",
    version="1.0",
    os="linux",
    format="qcow2",
    size=CHUNK + 1,
    virtual_size=8 * CHUNK,
    sha256=DIGEST,
    chunks=(DIGEST, DIGEST),
    created="2026-01-31T12:00:00Z",
    zstd=Frames(size=30, sha256=DIGEST, sizes=(10, 20), chunks=(DIGEST, DIGEST)),
)

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[0-9a-z][0-9a-z.+~-]{0,62}", fullmatch=True)
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    count = draw(st.integers(1, 5))
    size = max(module.LEAST_SIZE, (count - 1) * CHUNK + draw(st.integers(1, CHUNK)))
    some = st.lists(digests, min_size=count, max_size=count).map(tuple)
    sizes = draw(st.lists(st.integers(1, CHUNK), min_size=count, max_size=count).map(tuple))
    frames = Frames(size=sum(sizes), sha256=draw(digests), sizes=sizes, chunks=draw(some))
    form = draw(st.sampled_from(module.FORMATS))
    size = -(-size // 512) * 512 if form == "raw" else size
    virtual = st.just(size) if form in ("raw", "iso") else st.integers(1, module.LARGEST_VIRTUAL_SIZE)
    return Manifest(
        name=draw(names),
        version=draw(versions),
        os=draw(st.sampled_from(["linux", "freebsd", "openbsd", "windows", "other"])),
        format=form,
        size=size,
        virtual_size=draw(st.none() | virtual),
        sha256=draw(digests),
        chunks=draw(some),
        created="2026-01-31T12:00:00Z",
        zstd=draw(st.none() | st.just(frames)),
    )


@given(manifests())
@settings(max_examples=150, deadline=None)
def test_what_is_written_is_read(value: Manifest) -> None:
    assert parse(encode(value)) == value


@given(manifests())
@settings(max_examples=150, deadline=None)
def test_every_manifest_is_a_request_that_the_host_takes(value: Manifest) -> None:
    """Names, versions, formats and sizes are written down in both packages; they must not drift apart."""
    if value.format == "zfs":
        ReceiveImage(image=value.name, version=value.version, digest=value.sha256, size=value.size)
    else:
        OpenImageWriter(image=value.name, version=value.version, format=value.format, size=value.size)


@pytest.mark.parametrize("text", ["", "a" * 64, "-a", "a-", "A", "a/b", "..", "a.b", "a\n", "é"])
def test_names_are_refused_alike_on_both_sides(text: str) -> None:
    with pytest.raises(ManifestError):
        module.check_name(text)
    with pytest.raises(Rejected):
        OpenImageWriter(image=text, version="1", format="raw", size=CHUNK)


@pytest.mark.parametrize("text", ["", "1" * 64, ".1", "-1", "1/2", "..", "1.0\n", "1.A", "1 0"])
def test_versions_are_refused_alike_on_both_sides(text: str) -> None:
    with pytest.raises(ManifestError):
        module.check_version(text)
    with pytest.raises(Rejected):
        OpenImageWriter(image="a", version=text, format="raw", size=CHUNK)


def test_formats_are_the_same_on_both_sides() -> None:
    assert module.FORMATS == IMAGE_FORMATS


@given(manifests(), st.data())
@settings(max_examples=400, deadline=None)
def test_a_changed_byte_is_refused_or_means_something_else(value: Manifest, data: st.DataObject) -> None:
    good = bytearray(encode(value))
    place = data.draw(st.integers(0, len(good) - 1))
    match data.draw(st.sampled_from(["change", "remove", "insert", "cut"])):
        case "change":
            good[place] ^= data.draw(st.integers(1, 255))
        case "remove":
            del good[place]
        case "insert":
            good.insert(place, data.draw(st.integers(0, 255)))
        case _:
            del good[place:]
    try:
        other = parse(bytes(good))
    except ManifestError:
        return
    assert other != value or bytes(good) == encode(value)
    assert encode(other) == bytes(good)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        parse(data)


def changed(path: str, value: Any) -> bytes:
    """The small manifest with one value replaced; the path is dotted."""
    top = json.loads(encode(SMALL))
    *outer, last = path.split(".")
    inner = top
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return module.canonical(top)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("path", "../../etc/passwd", "manifest: unknown key 'path'"),
        ("zstd.file", "x", "manifest.zstd: unknown key 'file'"),
        ("skep_image", 2, "manifest.skep_image: edition 2"),
        ("skep_image", True, "manifest.skep_image: edition True"),
        ("chunk_size", 1, "manifest.chunk_size: 1 is not 4194304"),
        ("name", "../small", "manifest.name: '../small' is not an image name"),
        ("name", 7, "manifest.name: 7 is not a string"),
        ("version", "1/../2", "manifest.version: '1/../2' is not an image version"),
        ("os", "Linux!", "manifest.os: 'Linux!' is not an operating system"),
        ("format", "vmdk", "manifest.format: 'vmdk' is not one of raw, qcow2, zfs, iso"),
        ("format", "iso", "manifest.virtual_size: 33554432 is not the size of the iso image"),
        ("format", "raw", "manifest.size: 4194305 is no disk, it is not a multiple of 512"),
        ("size", -1, "manifest.size: -1 is not a whole number between"),
        ("size", 1 << 60, "manifest.size: 1152921504606846976 is not a whole number between"),
        ("size", 4.5e6, "manifest.size: 4500000.0 is not a whole number"),
        ("size", True, "manifest.size: True is not a whole number"),
        ("size", 3 * CHUNK, "manifest.chunks: 2 digests, but the size makes 3 chunks"),
        ("virtual_size", 0, "manifest.virtual_size: 0 is not"),
        ("virtual_size", None, "manifest.virtual_size: None is not a whole number"),
        ("sha256", "0" * 63, "manifest.sha256: "),
        ("sha256", DIGEST.upper(), "manifest.sha256: "),
        ("chunks", [DIGEST], "manifest.chunks: 1 digests"),
        ("chunks", [DIGEST, 5], r"manifest.chunks\[1\]: 5 is not a SHA-256"),
        ("chunks", {"0": DIGEST}, "manifest.chunks: .* is not a list"),
        ("created", "yesterday", "manifest.created: 'yesterday' is not a time"),
        ("zstd", [], "manifest.zstd: .* is not an object"),
        ("zstd.size", 31, "manifest.zstd.size: 31 is not the sum of the sizes, 30"),
        ("zstd.sizes", [10], "manifest.zstd.sizes: 1 sizes for 2 chunks"),
        ("zstd.sizes", [10, 0], r"manifest.zstd.sizes\[1\]: 0 is not"),
        ("zstd.sizes", [10, 1 << 40], r"manifest.zstd.sizes\[1\]: 1099511627776 is not"),
        ("zstd.sizes", [10, "20"], r"manifest.zstd.sizes\[1\]: '20' is not"),
        ("zstd.chunks", [DIGEST, "x"], r"manifest.zstd.chunks\[1\]: 'x' is not"),
        ("zstd.sha256", "", "manifest.zstd.sha256: '' is not"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(path: str, value: Any, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse(changed(path, value))


@pytest.mark.parametrize("key", sorted(json.loads(encode(replace(SMALL, virtual_size=None, zstd=None)))))
def test_a_missing_key_is_named(key: str) -> None:
    top = json.loads(encode(SMALL))
    del top[key]
    with pytest.raises(ManifestError, match=key):
        parse(module.canonical(top))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 100_000, "not JSON"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1, "a": 2}', "a key stands twice"),
        ("{}é".encode(), "not JSON"),
        (encode(SMALL)[:-1], "not in canonical form"),
        (encode(SMALL) + b"\n", "not in canonical form"),
        (json.dumps(json.loads(encode(SMALL))).encode(), "not in canonical form"),
        (encode(SMALL).replace(b'"small"', b'"sm\\u0061ll"'), "not in canonical form"),
    ],
)
def test_only_the_canonical_form_is_read(data: bytes, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse(data)


def test_a_manifest_beyond_the_limit_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_MANIFEST", 100)
    with pytest.raises(ManifestError, match="the most is 100"):
        parse(encode(SMALL))


def test_the_largest_image_fits_in_the_largest_manifest() -> None:
    """Worked out from the bytes of one chunk, because a manifest of that size takes seconds."""
    more = replace(
        SMALL,
        size=2 * CHUNK + 1,
        chunks=(DIGEST,) * 3,
        zstd=Frames(size=3 * 4_194_410, sha256=DIGEST, sizes=(4_194_410,) * 3, chunks=(DIGEST,) * 3),
    )
    wide = replace(
        more,
        zstd=Frames(size=2 * 4_194_410, sha256=DIGEST, sizes=(4_194_410,) * 2, chunks=(DIGEST,) * 2),
        size=CHUNK + 1,
        chunks=(DIGEST,) * 2,
    )
    each = len(encode(more)) - len(encode(wide))
    assert each * (module.LARGEST_SIZE // CHUNK) + len(encode(wide)) < module.LARGEST_MANIFEST


indexes = st.dictionaries(names, st.lists(versions, max_size=3).map(tuple), max_size=4)


@given(indexes)
@settings(max_examples=100, deadline=None)
def test_an_index_is_read_as_written(index: dict[str, tuple[str, ...]]) -> None:
    assert parse_index(encode_index(index)) == index


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ({"../x": []}, "is not an image name"),
        ({"x": ["../1"]}, r"index.images.x\[0\]: '../1' is not an image version"),
        ({"x": "1.0"}, "index.images.x: not a list"),
        ([], "index.images: .* is not an object"),
    ],
)
def test_an_index_with_tricks_is_refused(images: Any, said: str) -> None:
    with pytest.raises(ManifestError, match=said):
        parse_index(module.canonical({"skep_images": 1, "images": images}))


def test_field_types_are_all_required() -> None:
    """The strict parser's table names every field of the dataclass, so that none can be forgotten."""
    assert {*module._FIELDS, "virtual_size", "zstd"} == set(typing.get_type_hints(Manifest))
