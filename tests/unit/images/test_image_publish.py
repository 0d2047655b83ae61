"""Publishing, verifying, and the command-line entry."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from image_doubles import Published, make_key, signer_line
from skep.images import signature
from skep.images.folder import parse_index, read_folder
from skep.images.inspect import InspectError, detect, virtual_size
from skep.images.manifest import CHUNK, ManifestError, encode, parse
from skep.images.publish import PublishError, publish
from skep.images.signature import SignatureError
from skep.images.verify import VerifyError, verify

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def qcow2(path: Path, *, backing: int = 0, features: int = 0, size: int = 7 << 30) -> Path:
    header = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 0, 16, size).ljust(72, b"\0") + struct.pack(">Q", features)
    path.write_bytes(header.ljust(2 << 20, b"\0"))
    return path


def put(source: Path, web: Path, published: Published, **more: object) -> object:
    arguments = {"key": published.key, "name": "box", "version": "1", "os_name": "linux", "now": NOW, **more}
    return publish(source, web, **arguments)  # type: ignore[arg-type]


def test_a_folder_is_a_plain_web_site(published: Published) -> None:
    files = sorted(str(path.relative_to(published.folder)) for path in published.folder.rglob("*") if path.is_file())
    assert files == sorted(
        ["index.json"]
        + [
            f"small/{version}/{name}"
            for version, image in [
                ("1.0", "small-1.0.raw"),
                ("1.0+zst", "small-1.0+zst.raw.zst"),
                ("2.0", "small-2.0.raw"),
                ("1.0-stream", "small-1.0-stream.zfs"),
            ]
            for name in ("manifest.json", "manifest.json.sig", image)
        ]
    )
    index = parse_index((published.folder / "index.json").read_bytes())
    assert index == {"small": ("1.0", "1.0+zst", "1.0-stream", "2.0")}
    assert index == read_folder(published.folder)


def test_digests_are_those_of_the_content(published: Published) -> None:
    content = published.content
    assert published.manifest.sha256 == hashlib.sha256(content).hexdigest()
    assert published.manifest.chunks[4] == hashlib.sha256(content[4 * CHUNK :]).hexdigest()
    assert published.manifest.virtual_size == len(content)


def test_the_compressed_file_is_plain_zstd(published: Published, tmp_path: Path) -> None:
    """Whoever has no Skep unpacks it with zstd -d."""
    path = published.folder / "small/1.0+zst/small-1.0+zst.raw.zst"
    out = subprocess.run(["zstd", "-dc", str(path)], capture_output=True, check=True).stdout
    assert out == published.content
    frames = parse((path.parent / "manifest.json").read_bytes()).zstd
    assert frames is not None
    assert frames.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("version", ["1.0", "1.0+zst", "2.0", "1.0-stream"])
def test_verify_accepts_what_was_published(published: Published, version: str) -> None:
    manifest, signer = verify(published.folder, "small", version, allowed_signers=published.signers)
    assert (manifest.version, signer) == (version, "images@example.org")


@pytest.mark.parametrize("compress", [False, True])
def test_verify_names_the_chunk(published: Published, tmp_path: Path, compress: bool) -> None:
    manifest = put(published.source, tmp_path, published, compress=compress)
    path = next(tmp_path.glob("box/1/box-1.raw*"))
    with open(path, "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([last[0] ^ 1]))
    with pytest.raises(VerifyError, match="chunk 4 of 5"):
        verify(tmp_path, "box", "1", allowed_signers=published.signers)
    path.write_bytes(b"")
    with pytest.raises(VerifyError, match="has 0 bytes"):
        verify(tmp_path, "box", "1", allowed_signers=published.signers)
    path.unlink()
    with pytest.raises(VerifyError, match="no such file"):
        verify(tmp_path, "box", "1", allowed_signers=published.signers)
    assert manifest


@pytest.mark.parametrize(("name", "version"), [("absent", "1"), ("small", "9")])
def test_verify_of_what_is_not_there(published: Published, name: str, version: str) -> None:
    with pytest.raises(VerifyError, match="is not published"):
        verify(published.folder, name, version, allowed_signers=published.signers)


def test_verify_looks_at_names_first(published: Published) -> None:
    with pytest.raises(ManifestError):
        verify(published.folder, "../web/small", "1.0", allowed_signers=published.signers)


def test_a_second_time_changes_nothing(published: Published, tmp_path: Path) -> None:
    put(published.source, tmp_path, published)
    before = {path: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.rglob("box-*")}
    manifest = (tmp_path / "box/1/manifest.json").read_bytes()
    put(published.source, tmp_path, published, now=NOW.replace(year=2027))
    assert {path: (path.read_bytes(), path.stat().st_ino) for path in tmp_path.rglob("box-*")} == before
    assert (tmp_path / "box/1/manifest.json").read_bytes() == manifest


def test_a_second_time_signs_with_a_new_key(published: Published, tmp_path: Path) -> None:
    put(published.source, tmp_path, published)
    put(published.source, tmp_path, published, key=published.stranger)
    with pytest.raises(SignatureError):
        verify(tmp_path, "box", "1", allowed_signers=published.signers)


def test_a_version_never_changes(published: Published, tmp_path: Path) -> None:
    put(published.source, tmp_path, published)
    other = tmp_path / "other"
    other.write_bytes(bytes(CHUNK))
    with pytest.raises(PublishError, match="publish under a new version"):
        put(other, tmp_path, published)
    verify(tmp_path, "box", "1", allowed_signers=published.signers)
    assert not list(tmp_path.rglob(".*.new"))


def test_a_failed_signature_publishes_nothing(published: Published, tmp_path: Path) -> None:
    with pytest.raises(SignatureError, match="no such key"):
        put(published.source, tmp_path, published, key=tmp_path / "absent")
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("size", [0, 1000, (1 << 20) - 1])
def test_a_file_that_is_too_small_is_refused(published: Published, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    with pytest.raises(PublishError, match="an image has between"):
        put(source, tmp_path / "web", published)


def test_a_source_that_is_not_there(published: Published, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="no such file"):
        put(tmp_path / "absent", tmp_path, published, form="raw")


def test_qcow2_tells_its_virtual_size(tmp_path: Path) -> None:
    path = qcow2(tmp_path / "image")
    assert detect(path) == "qcow2"
    assert virtual_size(path, "qcow2") == 7 << 30


@pytest.mark.parametrize(
    ("backing", "features", "said"), [(500, 0, "has a backing file"), (0, 4, "keeps its data in another file")]
)
def test_a_qcow2_that_needs_another_file_is_refused(
    tmp_path: Path, published: Published, backing: int, features: int, said: str
) -> None:
    path = qcow2(tmp_path / "image", backing=backing, features=features)
    with pytest.raises(InspectError, match=said):
        put(path, tmp_path / "web", published)


def test_a_format_must_be_that_of_the_file(tmp_path: Path, published: Published) -> None:
    with pytest.raises(InspectError, match="publish it with --format qcow2"):
        virtual_size(qcow2(tmp_path / "image"), "raw")
    with pytest.raises(InspectError, match="is not a qcow2 image"):
        virtual_size(published.source, "qcow2")


def test_what_no_host_would_take_is_not_published(tmp_path: Path, published: Published) -> None:
    odd = tmp_path / "odd.img"
    odd.write_bytes(bytes(CHUNK + 1))
    with pytest.raises(InspectError, match="not a multiple of 512"):
        put(odd, tmp_path / "web", published)
    with pytest.raises(InspectError, match="is not an ISO 9660 image"):
        put(odd, tmp_path / "web", published, form="iso")


def test_formats_are_seen(tmp_path: Path) -> None:
    iso = tmp_path / "disc.iso"
    iso.write_bytes(bytes(0x8001) + b"CD001" + bytes(CHUNK))
    plain, stream = tmp_path / "plain.img", tmp_path / "a.zfs"
    for path in (plain, stream):
        path.write_bytes(bytes(CHUNK))
    assert [detect(path) for path in (iso, plain, stream)] == ["iso", "raw", "zfs"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "skepd.images.publish", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_command_publishes(published: Published, tmp_path: Path) -> None:
    common = [published.source, "--folder", tmp_path, "--os", "linux", "--key", published.key, "--name", "box"]
    done = run(*common, "--version", "3", "--zstd")
    assert (done.returncode, done.stderr) == (0, "")
    assert published.manifest.sha256 in done.stdout
    assert verify(tmp_path, "box", "3", allowed_signers=published.signers)[0].zstd
    refused = run(*common, "--version", "../3")
    assert refused.returncode == 1
    assert "is not an image version" in refused.stderr
    assert run("--help").returncode == 0


# Signatures.


def test_several_principals_and_keys(tmp_path: Path, published: Published) -> None:
    signers = tmp_path / "signers"
    lines = [signer_line("a@x", published.stranger), signer_line("b@x,c@x", published.key)]
    signers.write_text("# images only\n" + "".join(lines))
    data = encode(published.manifest)
    assert signature.verify(data, signature.sign(data, published.key), signers) in ("b@x", "c@x")
    assert signature.verify(data, signature.sign(data, published.stranger), signers) == "a@x"


def test_an_expired_key_is_refused(tmp_path: Path, published: Published) -> None:
    signers = tmp_path / "signers"
    signers.write_text(signer_line("a@x", published.key, 'valid-before="20200101"'))
    data = encode(published.manifest)
    with pytest.raises(SignatureError):
        signature.verify(data, signature.sign(data, published.key), signers)


def test_a_signature_for_git_is_none_for_images(tmp_path: Path, published: Published) -> None:
    data = encode(published.manifest)
    command = ["ssh-keygen", "-Y", "sign", "-n", "git", "-f", str(published.key)]
    signed = subprocess.run(command, input=data, capture_output=True, check=True).stdout
    signers = tmp_path / "signers"
    signers.write_text(signer_line("a@x", published.key, ""))
    assert signature.verify(data, signature.sign(data, published.key), signers) == "a@x"
    with pytest.raises(SignatureError):
        signature.verify(data, signed, signers)


def test_no_allowed_signers_says_what_to_write(tmp_path: Path, published: Published) -> None:
    data = encode(published.manifest)
    with pytest.raises(SignatureError, match="write one line for each signer"):
        signature.verify(data, signature.sign(data, published.key), tmp_path / "absent")


def test_a_key_with_a_passphrase_fails_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path, "locked")
    command = ["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret words", "-f", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    with pytest.raises(SignatureError, match="could not sign"):
        signature.sign(b"data", key)


def test_a_manifest_of_another_folder_is_refused(published: Published, tmp_path: Path) -> None:
    put(published.source, tmp_path, published)
    place = tmp_path / "box/1"
    other = encode(replace(published.manifest, name="box", version="0"))
    (place / "manifest.json").write_bytes(other)
    (place / "manifest.json.sig").write_bytes(signature.sign(other, published.key))
    with pytest.raises(ManifestError, match="validly signed, but of box 0"):
        verify(tmp_path, "box", "1", allowed_signers=published.signers)
    assert json.loads(other)["version"] == "0"
