"""Sending and receiving against what OpenZFS said on FreeBSD 13.2: parsers, arguments, refusals, heads of streams."""

from __future__ import annotations

import re
import struct

import pytest
from bhyve_transcripts import Block, blocks
from skep_helper.vocabulary import Rejected, SnapshotStream
from skep_helper.zfs.transfer import failures, header, output, parts, send

NAME = "03-zfs-send.txt"
SOURCE = "zroot/s/src"


def block(command: str, number: int = 0) -> Block:
    return [found for found in blocks(NAME) if found.command == command][number]


def stream(**fields: object) -> SnapshotStream:
    return SnapshotStream(**{"guest": "g", "snapshot": "b", **fields})  # type: ignore[arg-type]


def test_estimates_are_read() -> None:
    found = {
        found.command: output.size(found.stdout.splitlines())
        for found in blocks(NAME)
        if found.command.startswith("zfs send -n") and "P" in found.command.split()[2] and not found.exit
    }
    assert found[f"zfs send -nvP {SOURCE}@a"] == 21556168
    assert found[f"zfs send -nvP -i @a {SOURCE}@b"] == 4338184
    assert found[f"zfs send -nvP -i '#a' {SOURCE}@b"] == 4338184
    assert min(found.values()) > 0
    assert len(found) > 6


def test_progress_is_read() -> None:
    (found,) = (found for found in blocks(NAME) if "2>/tmp/prog" in found.command)
    told = [output.progress(line) for line in found.stdout.splitlines()]
    assert [number for number in told if number is not None] == [13173632]


def test_a_token_is_read() -> None:
    found = next(found for found in blocks(NAME) if found.command.startswith("zfs send -nvP -t $("))
    fields = output.token(found.stdout.splitlines())
    assert (fields["toguid"], fields["toname"]) == ("0x19724bf15ddcbede", f"{SOURCE}@a")
    assert output.size(found.stdout.splitlines()) == 16563696
    # As the vocabulary wants it: a token that was really made.
    (token,) = re.findall(r"\t(1-\S+)", block("zfs list -Hp -o name,receive_resume_token zroot/s/resume").stdout)
    assert stream(token=token).token == token


def test_the_arguments() -> None:
    name = f"{SOURCE}@skep-b"
    assert send.words(stream(), SOURCE) == ["-Lec", name]
    assert send.words(stream(raw=True), SOURCE) == ["-w", name]
    assert send.words(stream(compressed=False), SOURCE) == [name]
    assert send.words(stream(base="a"), SOURCE) == ["-Lec", "-i", "@skep-a", name]
    assert send.words(stream(base="a", base_kind="bookmark"), SOURCE) == ["-Lec", "-i", "#skep-a", name]
    assert send.words(stream(token="1-ab-cd-ef01"), SOURCE) == ["-t", "1-ab-cd-ef01"]


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (f"zfs send {SOURCE}@nosuch", "missing", "take another one"),
        (f"zfs send -i @b {SOURCE}@a", "conflict", "not older"),
        (f"zfs send -i @a {SOURCE}@b", "missing", "take another one"),
        ("zfs send -t 1-badtoken", "rejected", "begin anew"),
        ("zfs send -t nonsense", "rejected", "begin anew"),
    ],
)
def test_what_is_not_sent(command: str, code: str, words: str) -> None:
    found = block(command)
    assert found.exit
    failure = failures.sending("it", found.stderr.splitlines(), found.exit)
    assert (failure.code, words in failure.message) == (code, True), failure.message


@pytest.mark.parametrize(
    ("command", "number", "code", "words"),
    [
        (f"zfs send {SOURCE}@a | zfs receive zroot/s/dst", 1, "exists", "changes since a snapshot that both have"),
        (f"zfs send {SOURCE}@a | zfs receive -F zroot/s/dst", 0, "exists", "changes since a snapshot that both have"),
        (f"zfs send {SOURCE}@a | zfs receive zroot/nosuch/dst", 0, "missing", "folder first"),
        ("dd if=/dev/zero bs=1k count=10 | zfs receive zroot/s/garbage", 0, "rejected", "not a stream"),
        (": | zfs receive zroot/s/empty", 0, "failed", "ended before it began"),
        (f"zfs send {SOURCE}@a | head -c 5000000 | zfs receive zroot/s/trunc", 0, "failed", "ended early"),
        (
            f"zfs send {SOURCE}@a | head -c 5000000 | zfs receive -s zroot/s/resume",
            0,
            "failed",
            "resume it with the token",
        ),
        ("zfs send -R -i @r1 zroot/s/fs@r2 | zfs receive -v -u zroot/s/box/fs", 0, "conflict", "roll it back"),
    ],
)
def test_what_is_not_received(command: str, number: int, code: str, words: str) -> None:
    found = block(command, number)
    assert found.exit
    told = [line for line in found.stderr.splitlines() if "signal received" not in line]
    failure = failures.receiving("it", told, found.exit)
    assert (failure.code, words in failure.message) == (code, True), failure.message


def head(**fields: object) -> bytes:
    values: dict[str, object] = {
        "kind": 0, "payload": 0, "magic": 0x2F5BACBAC, "version": 1, "created": 1, "objects": 3, "flags": 0,
        "guid": 7, "base": 0, "name": b"tank/skep/guests/g/data@skep-b", **fields,
    }  # fmt: skip
    return struct.pack("<IIQQQIIQQ256s", *values.values())


def test_the_head_of_a_stream() -> None:
    found = header.parse(head())
    assert found == header.Header("volume", "tank/skep/guests/g/data@skep-b", 7, 0, False, False)
    assert found.snapshot == "skep-b"
    resumed = header.parse(head(version=1 | (1 << 20 | 1 << 24) << 2, base=9, objects=2))
    assert (resumed.resumes, resumed.raw, resumed.base, resumed.kind) == (True, True, 9, "filesystem")
    swapped = struct.pack(">IIQQQIIQQ256s", *struct.unpack("<IIQQQIIQQ256s", head()))
    assert header.parse(swapped) == found


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "said nothing"),
        (b"x" * 400, "not a ZFS stream"),
        (head(kind=1), "not a ZFS stream"),
        (head(version=2), "several snapshots or properties"),
        (head(version=1 | (1 << 21) << 2), "redacted"),
        (head(flags=1), "clone"),
        (head(objects=4), "no guest has"),
    ],
)
def test_what_is_no_stream_of_one_snapshot(data: bytes, words: str) -> None:
    with pytest.raises(Rejected, match=words):
        header.parse(data)


def test_what_there_is_of_a_guest() -> None:
    """Lines as `zfs list -Hp` wrote them (columns of 02 and 03), with Skep's names."""
    top = "tank/skep/guests/g"
    lines = [
        (top, "filesystem", "1", "10", "-", "host-1"),
        (f"{top}/data", "volume", "2", "11", "1-d4-b8-78", "-"),
        (f"{top}/data@skep-b", "snapshot", "4", "21", "-", "-"),
        (f"{top}/data@skep-a", "snapshot", "3", "20", "-", "-"),
        (f"{top}/data@hourly", "snapshot", "9", "22", "-", "-"),
        (f"{top}/data#skep-a", "bookmark", "3", "20", "-", "-"),
    ]
    text = "".join("\t".join(line) + "\n" for line in lines)
    reading = parts.parse("g", top, "host-1", text)
    assert reading.promoted_here
    assert not parts.parse("g", top, "host-2", text).promoted_here
    folder, disk = reading.parts
    assert (folder.disk, folder.points, folder.token) == ("", (), "")
    assert (disk.disk, disk.token) == ("data", "1-d4-b8-78")
    assert [(point.name, point.kind) for point in disk.points] == [
        ("a", "snapshot"),
        ("a", "bookmark"),
        ("b", "snapshot"),
    ]
