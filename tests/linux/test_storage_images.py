"""Images: written by skepd, inspected, sealed, published; nothing unsafe ever becomes visible."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from skep_helper.handlers import Failure
from skep_helper.linux.storage import images
from skep_helper.paths import Folder
from skep_helper.storage import tool as storage_tool
from skep_helper.vocabulary import (
    AbandonImage,
    CreateDisk,
    OpenImageWriter,
    PublishImage,
    ReceiveImage,
    Rejected,
    RemoveImage,
)
from storage_lab import DIGEST, MIB, Lab, qcow2_content, tool, tree

pytestmark = pytest.mark.real
SMALL: dict[str, Any] = {"image": "small", "version": "1.0"}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def writer(lab: Lab, content: bytes, format: str = "qcow2") -> None:
    """Write an image but do not publish it."""
    _, (descriptor,) = lab.ask_with(OpenImageWriter(**SMALL, format=format, size=len(content)))
    with os.fdopen(descriptor, "r+b") as stream:
        stream.write(content)


def publish(lab: Lab, format: str = "qcow2", digest: str = DIGEST) -> None:
    lab.ask(PublishImage(**SMALL, format=format, digest=digest))


def test_an_image_is_visible_once_it_is_published(lab: Lab, tmp_path: Path) -> None:
    writer(lab, qcow2_content(tmp_path, 7))
    assert lab.reading().images == ()
    publish(lab)
    before = tree(lab.pool)
    publish(lab)
    assert tree(lab.pool) == before
    (image,) = lab.reading().images
    assert (image.image, image.version, image.format, image.size, image.digest) == (
        "small", "1.0", "qcow2", 8 * MIB, DIGEST,
    )  # fmt: skip
    status = (lab.pool / "images" / "small" / "1.0" / "image").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, storage_tool.tool_uid(lab.policy), 0o440)
    assert os.listdir(lab.pool / "incoming") == []


@pytest.fixture
def before_the_lock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Has something happen just before a request has the lock of an incoming image."""
    real = images._held

    def arrange(work: Callable[[], None]) -> None:
        def late(folder: Folder, what: str) -> AbstractContextManager[None]:
            monkeypatch.setattr(images, "_held", real)
            work()
            return real(folder, what)

        monkeypatch.setattr(images, "_held", late)

    return arrange


Arrange = Callable[[Callable[[], None]], None]


def test_no_writer_of_an_image_that_is_published_meanwhile(lab: Lab, tmp_path: Path, before_the_lock: Arrange) -> None:
    content = qcow2_content(tmp_path, 7)
    writer(lab, content)
    before_the_lock(lambda: publish(lab))
    with pytest.raises(Failure, match="published or abandoned just now") as refused:
        writer(lab, b"x" * len(content))
    assert refused.value.code == "busy"
    assert (lab.pool / "images" / "small" / "1.0" / "image").read_bytes() == content
    assert not (lab.pool / "images" / "small" / "1.0" / "request.json").exists()
    with pytest.raises(Failure, match="already there"):
        writer(lab, content)


def test_no_writer_in_a_folder_made_after_the_publication(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = qcow2_content(tmp_path, 7)
    real = Folder.make

    def late(folder: Folder, *arguments: Any, **options: Any) -> Folder:
        monkeypatch.setattr(Folder, "make", real)
        publish(lab)
        return real(folder, *arguments, **options)

    writer(lab, content)
    monkeypatch.setattr(Folder, "make", late)
    with pytest.raises(Failure, match="already there") as refused:
        writer(lab, content)
    assert refused.value.code == "exists"
    assert os.listdir(lab.pool / "incoming") == []


def test_a_second_publication_finds_the_first(lab: Lab, tmp_path: Path, before_the_lock: Arrange) -> None:
    writer(lab, qcow2_content(tmp_path, 7))

    def first() -> None:
        publish(lab)
        writers.append(tree(lab.pool))

    writers: list[Any] = []
    before_the_lock(first)
    with pytest.raises(Failure, match="published or abandoned just now"):
        publish(lab, digest="cd" * 32)
    assert tree(lab.pool) == writers[0], "nothing of the published image changed"
    assert lab.reading().images[0].digest == DIGEST


def test_an_interrupted_download_is_resumed(lab: Lab) -> None:
    request = OpenImageWriter(**SMALL, format="raw", size=2 * MIB)
    _, (first,) = lab.ask_with(request)
    os.pwrite(first, b"begun", MIB)
    os.close(first)
    _, (second,) = lab.ask_with(request)
    assert os.pread(second, 5, MIB) == b"begun"
    assert os.fstat(second).st_size == 2 * MIB
    os.close(second)
    with pytest.raises(Failure, match="abandon that first"):
        lab.ask(OpenImageWriter(**SMALL, format="raw", size=3 * MIB))
    for _ in range(2):
        lab.ask(AbandonImage(**SMALL))
    assert os.listdir(lab.pool / "incoming") == []
    with pytest.raises(Failure, match="nothing was written") as caught:
        publish(lab, "raw")
    assert caught.value.code == "missing"


def test_an_image_that_is_still_open_for_writing_is_not_published(lab: Lab) -> None:
    _, (descriptor,) = lab.ask_with(OpenImageWriter(**SMALL, format="raw", size=2 * MIB))
    with pytest.raises(Failure, match="close its writer") as caught:
        publish(lab, "raw")
    assert caught.value.code == "busy"
    assert lab.reading().images == ()
    os.close(descriptor)
    publish(lab, "raw")
    with pytest.raises(Failure, match="already there") as caught:
        lab.ask(OpenImageWriter(**SMALL, format="raw", size=2 * MIB))
    assert caught.value.code == "exists"


def test_what_is_being_published_is_not_exchanged(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Abandoned and begun anew meanwhile, it would be published with somebody's descriptor open for writing."""
    seal, refused = images._seal, []

    def meanwhile(*given: Any) -> int:
        for request in (AbandonImage(**SMALL), OpenImageWriter(**SMALL, format="qcow2", size=MIB)):
            with pytest.raises(Failure) as caught:
                lab.ask_with(request)
            refused.append(caught.value.code)
        return seal(*given)

    writer(lab, qcow2_content(tmp_path, 7))
    monkeypatch.setattr(images, "_seal", meanwhile)
    publish(lab)
    assert refused == ["busy", "busy"]
    assert len(lab.reading().images) == 1
    lab.ask(AbandonImage(**SMALL))


def test_without_leases_the_image_is_copied_out_of_the_writers_reach(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fcntl.fcntl

    def without(descriptor: int, command: int, *arguments: Any) -> Any:
        if command == fcntl.F_SETLEASE:
            raise OSError(errno.EINVAL, "no leases here")
        return real(descriptor, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", without)
    _, (descriptor,) = lab.ask_with(OpenImageWriter(**SMALL, format="raw", size=2 * MIB))
    os.pwrite(descriptor, b"before", MIB)
    publish(lab, "raw")
    os.pwrite(descriptor, b"after!", MIB)
    os.close(descriptor)
    content = (lab.pool / "images" / "small" / "1.0" / "image").read_bytes()
    assert content[MIB : MIB + 6] == b"before"
    assert len(content) == 2 * MIB


def test_another_content_under_the_same_version_is_refused(lab: Lab) -> None:
    writer(lab, bytes(2 * MIB), "raw")
    publish(lab, "raw")
    with pytest.raises(Failure, match="publish another version") as caught:
        publish(lab, "raw", "cd" * 32)
    assert caught.value.code == "exists"


def unsafe(folder: Path) -> dict[str, bytes]:
    """Images that want more than they may."""
    base = folder / "base.raw"
    base.write_bytes(bytes(MIB))
    made = {
        "backing file": ["-b", base, "-F", "raw"],
        "another file": ["-o", f"data_file={folder / 'data.raw'}"],
    }
    found = {}
    for words, options in made.items():
        path = folder / "unsafe.qcow2"
        tool("qemu-img", "create", "-q", "-f", "qcow2", *options, path, str(4 * MIB))
        found[words] = path.read_bytes()
    tool("qemu-img", "create", "-q", "-f", "qcow2", path, str(4 * MIB))
    # Not made by qemu-img: it measures the CPU for LUKS, and fails now and then on a busy machine.
    found["encrypted"] = path.read_bytes()[:32] + struct.pack(">I", 2) + path.read_bytes()[36:]
    tool("qemu-img", "snapshot", "-c", "one", path)
    found["internal snapshots"] = path.read_bytes()
    found["not a qcow2"] = bytes(4 * MIB)
    found["outside the file"] = qcow2_content(folder, 7)[: 2 * 65_536]
    return found


def test_unsafe_qcow2_is_refused(lab: Lab, tmp_path: Path) -> None:
    for words, content in unsafe(tmp_path).items():
        writer(lab, content)
        with pytest.raises(Rejected, match=words):
            publish(lab)
        assert lab.reading().images == ()
        lab.ask(AbandonImage(**SMALL))


def test_raw_and_iso_are_looked_at(lab: Lab, tmp_path: Path) -> None:
    writer(lab, bytes(2 * MIB), "iso")
    with pytest.raises(Rejected, match="not an ISO 9660"):
        publish(lab, "iso")
    lab.ask(AbandonImage(**SMALL))
    writer(lab, bytes(2 * MIB + 100), "raw")
    with pytest.raises(Rejected, match="multiple of 512"):
        publish(lab, "raw")
    lab.ask(AbandonImage(**SMALL))
    (tmp_path / "content").mkdir()
    (tmp_path / "content" / "file").write_bytes(bytes(2 * MIB))
    tool("xorrisofs", "-quiet", "-o", tmp_path / "cd.iso", tmp_path / "content")
    content = (tmp_path / "cd.iso").read_bytes()
    writer(lab, content, "iso")
    publish(lab, "iso")
    assert [(image.format, image.size) for image in lab.reading().images] == [("iso", len(content))]
    with pytest.raises(Failure, match="ZFS"):
        lab.ask(ReceiveImage(image="small", version="2.0", digest="0" * 64))


def test_there_must_be_room_for_an_image(lab: Lab) -> None:
    with pytest.raises(Failure, match="MiB are free") as caught:
        lab.ask(OpenImageWriter(**SMALL, format="raw", size=1 << 47))
    assert caught.value.code == "full"
    lab.ask(AbandonImage(**SMALL))
    writer(lab, bytes(2 * MIB), "raw")


def test_an_image_in_use_is_not_removed(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.image("small", "2.0", "raw", bytes(2 * MIB))
    lab.guest("files", CreateDisk(guest="files", disk="root", **SMALL))
    with pytest.raises(Failure, match="base of files/root") as caught:
        lab.ask(RemoveImage(**SMALL))
    assert caught.value.code == "conflict"
    for _ in range(2):
        lab.ask(RemoveImage(image="small", version="2.0"))
    assert [image.version for image in lab.reading().images] == ["1.0"]
    lab.ask(RemoveImage(image="never", version="1"))


def test_a_crash_while_publishing_is_made_good(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from skep_helper.paths import Folder

    writer(lab, qcow2_content(tmp_path, 7))
    real = Folder.rename

    def power_fails(self: Folder, name: str, target: Folder, new_name: str, **how: bool) -> None:
        if new_name == "1.0":
            raise KeyboardInterrupt
        real(self, name, target, new_name, **how)

    monkeypatch.setattr(Folder, "rename", power_fails)
    with pytest.raises(KeyboardInterrupt):
        publish(lab)
    monkeypatch.undo()
    assert lab.reading().images == ()
    publish(lab)
    assert len(lab.reading().images) == 1
