"""Guests' folders, disks and the trash, with the real qemu-img."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path

import pytest
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.storage import tool as storage_tool
from skep_helper.vocabulary import (
    CreateDisk,
    CreateGuestFolder,
    EmptyTrash,
    GrowDisk,
    Rejected,
    RemoveDisk,
    RemoveImage,
    TrashGuestFolder,
    UntrashGuestFolder,
)
from storage_lab import KEY, MIB, Lab, holds, pattern, qcow2_content, tool, tree

pytestmark = pytest.mark.real


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def refused(lab: Lab, request: object, code: str, words: str = ".") -> None:
    """The request fails with this code and sentence, and changes nothing."""
    before = tree(lab.pool)
    with pytest.raises(Failure, match=words) as caught:
        lab.ask(request)
    assert caught.value.code == code
    assert tree(lab.pool) == before


def test_a_folder_is_roots_and_its_definition_skepds(lab: Lab) -> None:
    lab.guest("files")
    lab.guest("files")
    folder = lab.pool / "guests" / "files"
    shown = {path.name: (path.stat().st_uid, oct(path.stat().st_mode & 0o777)) for path in folder.iterdir()}
    assert shown == {"definition": (65_534, "0o700"), "disks": (0, "0o700"), "snapshots": (0, "0o700")}
    assert (folder.stat().st_uid, folder.stat().st_gid, folder.stat().st_mode & 0o777) == (0, 65_534, 0o750)


def test_root_does_not_look_into_what_is_skepds(lab: Lab) -> None:
    lab.guest("files")
    definition = lab.pool / "guests" / "files" / "definition"
    definition.rmdir()
    definition.symlink_to("/etc")
    lab.guest("files")
    assert definition.is_symlink()
    lab.reading()


@pytest.mark.parametrize("format", ["qcow2", "raw"])
@pytest.mark.parametrize("edition", ["thin", "full"])
def test_a_blank_disk(lab: Lab, format: str, edition: str) -> None:
    request = CreateDisk(guest="files", disk="data", size=16 * MIB, format=format, edition=edition)
    lab.guest("files", request)
    before = tree(lab.pool)
    lab.ask(request)
    assert tree(lab.pool) == before
    (disk,) = lab.folder("files").disks
    assert (disk.format, disk.size, disk.edition, disk.image) == (format, 16 * MIB, edition, "")
    assert (disk.allocated >= 16 * MIB) == (edition == "full")
    status = lab.disk("files", "data", format).stat()
    assert (status.st_uid, status.st_gid) == (0, storage_tool.tool_uid(lab.policy))
    assert holds(lab.disk("files", "data", format), 0, 0, 16 * MIB, format)


@pytest.mark.parametrize("source", ["qcow2", "raw"])
@pytest.mark.parametrize("format", ["qcow2", "raw"])
@pytest.mark.parametrize("edition", ["thin", "full"])
def test_a_disk_from_an_image(lab: Lab, tmp_path: Path, source: str, format: str, edition: str) -> None:
    content = qcow2_content(tmp_path, 7) if source == "qcow2" else b"\7" * MIB + bytes(7 * MIB)
    lab.image("small", "1.0", source, content)
    request = CreateDisk(
        guest="files", disk="root", size=32 * MIB, format=format, edition=edition, image="small", version="1.0"
    )
    lab.guest("files", request)
    path = lab.disk("files", "root", format)
    assert holds(path, 7, 0, MIB, format)
    assert holds(path, 0, MIB, 31 * MIB, format)
    (disk,) = lab.folder("files").disks
    assert (disk.size, disk.edition, disk.image) == (32 * MIB, edition, "small:1.0")
    assert (disk.allocated >= 32 * MIB) == (edition == "full")
    linked = (format, edition) == ("qcow2", "thin")
    assert [image.users for image in lab.reading().images] == [int(linked)]
    if linked:
        told = json.loads(tool("qemu-img", "info", "-U", "--output=json", path))
        assert told["full-backing-filename"] == str(lab.pool / "images" / "small" / "1.0" / "image")
        assert told["backing-filename-format"] == source
    # What the guest writes stays in its own disk.
    pattern(path, 9, 0, MIB, format)
    assert holds(lab.pool / "images" / "small" / "1.0" / "image", 7, 0, MIB, source)


def test_without_a_size_a_disk_has_its_images(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    request = CreateDisk(guest="files", disk="root", image="small", version="1.0")
    lab.guest("files", request)
    assert lab.folder("files").disks[0].size == 8 * MIB
    lab.ask(GrowDisk(guest="files", disk="root", size=16 * MIB))
    lab.ask(request)
    assert lab.folder("files").disks[0].size == 16 * MIB


def test_what_a_disk_cannot_be(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.guest("files", CreateDisk(guest="files", disk="root", size=16 * MIB))
    disk = {"guest": "files", "disk": "data", "size": 16 * MIB}
    refused(lab, CreateDisk(**disk, image="other", version="1.0"), "missing", "image other:1.0 is not on this host")
    refused(lab, CreateDisk(**disk, image="small", version="2.0"), "missing", "image small:2.0")
    refused(lab, CreateDisk(**disk, format="zvol"), "unsupported", "must be qcow2 or raw")
    refused(lab, CreateDisk(guest="nobody", disk="data", size=MIB), "missing", "create the guest first")
    refused(lab, CreateDisk(**disk, source_guest="nobody"), "missing", "guest nobody")
    small = {**disk, "size": 4 * MIB}
    refused(lab, CreateDisk(**small, image="small", version="1.0"), "rejected", f"at least {8 * MIB} bytes")
    refused(lab, CreateDisk(guest="files", disk="root", size=8 * MIB), "exists", "already has another disk root")
    refused(lab, CreateDisk(guest="files", disk="root", size=16 * MIB, format="raw"), "exists")
    refused(lab, CreateDisk(guest="files", disk="root", image="small", version="1.0", size=16 * MIB), "exists")
    refused(lab, CreateDisk(guest="files", disk="big", size=1 << 48, edition="full"), "full", "MiB are free")
    for wrong in ({"image": "small"}, {"version": "1.0"}, {"source_guest": "files"}, {"size": None}):
        with pytest.raises(Rejected):
            lab.ask(CreateDisk(**{**disk, **wrong}))


@pytest.mark.parametrize("format", ["qcow2", "raw"])
@pytest.mark.parametrize("edition", ["thin", "full"])
def test_a_clone_of_a_stopped_guests_disk(lab: Lab, tmp_path: Path, format: str, edition: str) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.guest("files", CreateDisk(guest="files", disk="root", size=16 * MIB, image="small", version="1.0"))
    pattern(lab.disk("files", "root"), 9, 4 * MIB, MIB)
    # Discarded in the guest: it must not shine through from the image in the clone.
    tool("qemu-io", "-f", "qcow2", "-c", f"write -z {MIB // 2} {MIB // 2}", lab.disk("files", "root"))
    tool("qemu-img", "snapshot", "-c", "nightly", lab.disk("files", "root"))
    clone = CreateDisk(guest="copy", disk="root", size=32 * MIB, source_guest="files", format=format, edition=edition)
    lab.guest("copy", clone)
    path = lab.disk("copy", "root", format)
    assert holds(path, 7, 0, MIB // 2, format)
    assert holds(path, 0, MIB // 2, MIB // 2, format)
    assert holds(path, 9, 4 * MIB, MIB, format)
    assert holds(path, 0, 5 * MIB, 27 * MIB, format)
    (disk,) = lab.folder("copy").disks
    assert (disk.size, disk.image, disk.edition) == (32 * MIB, "small:1.0", edition)
    assert "nightly" not in tool("qemu-img", "info", "-U", path)
    assert [image.users for image in lab.reading().images] == [2 if (format, edition) == ("qcow2", "thin") else 1]
    lab.ask(clone)


@pytest.mark.parametrize("format", ["qcow2", "raw"])
@pytest.mark.parametrize("edition", ["thin", "full"])
def test_growing(lab: Lab, format: str, edition: str) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB, format=format, edition=edition))
    pattern(lab.disk("files", "data", format), 3, 0, MIB, format)
    for _ in range(2):
        lab.ask(GrowDisk(guest="files", disk="data", size=24 * MIB))
    (disk,) = lab.folder("files").disks
    assert disk.size == 24 * MIB
    assert (disk.allocated >= 24 * MIB) == (edition == "full")
    assert holds(lab.disk("files", "data", format), 3, 0, MIB, format)
    refused(lab, GrowDisk(guest="files", disk="data", size=16 * MIB), "conflict", "never shrinks")
    refused(lab, GrowDisk(guest="files", disk="other", size=16 * MIB), "missing")


def test_a_disk_goes_to_the_trash_and_back(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.guest("files", CreateDisk(guest="files", disk="root", image="small", version="1.0"))
    before = tree(lab.pool / "guests")
    for _ in range(2):
        lab.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    assert lab.folder("files").disks == ()
    assert lab.reading().trash == (KEY,)
    refused(lab, RemoveImage(image="small", version="1.0"), "conflict", "in the trash")
    for _ in range(2):
        lab.ask(RemoveDisk(guest="files", disk="root", key=KEY, undo=True))
    assert tree(lab.pool / "guests") == before
    lab.ask(RemoveDisk(guest="files", disk="root", key=KEY))
    for _ in range(2):
        lab.ask(EmptyTrash(key=KEY))
    assert lab.reading().trash == ()
    lab.ask(RemoveImage(image="small", version="1.0"))
    assert lab.reading().images == ()


def test_a_removed_disk_does_not_replace_a_new_one(lab: Lab) -> None:
    disk = CreateDisk(guest="files", disk="data", size=8 * MIB)
    lab.guest("files", disk)
    lab.ask(RemoveDisk(guest="files", disk="data", key=KEY))
    lab.ask(disk)
    refused(lab, RemoveDisk(guest="files", disk="data", key=KEY, undo=True), "exists")
    refused(lab, RemoveDisk(guest="files", disk="data", key=KEY), "exists")


def test_a_guest_goes_to_the_trash_and_back(lab: Lab) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
    before = tree(lab.pool / "guests")
    for _ in range(2):
        lab.ask(TrashGuestFolder(guest="files", key=KEY))
    assert lab.reading().folders == ()
    assert lab.reading().trash == (KEY,)
    for _ in range(2):
        lab.ask(UntrashGuestFolder(guest="files", key=KEY))
    assert tree(lab.pool / "guests") == before
    lab.ask(TrashGuestFolder(guest="files", key=KEY))
    lab.guest("files")
    refused(lab, UntrashGuestFolder(guest="files", key=KEY), "exists", "another guest files")
    lab.ask(EmptyTrash(key=KEY))
    assert list((lab.pool / "trash").iterdir()) == []


def test_what_is_half_removed_never_comes_back(lab: Lab) -> None:
    lab.guest("files")
    lab.ask(TrashGuestFolder(guest="files", key=KEY))
    (lab.pool / "trash" / KEY).rename(lab.pool / "trash" / f".{KEY}.doomed")
    assert lab.reading().trash == ()
    refused(lab, UntrashGuestFolder(guest="files", key=KEY), "missing")
    lab.ask(EmptyTrash(key=KEY))
    assert list((lab.pool / "trash").iterdir()) == []


def test_a_running_guests_disks_stay_where_they_are(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
    lab.guest("copy")
    grown: list[tuple[str, str, int]] = []
    monkeypatch.setattr("skep_helper.guard.client.is_running", lambda policy, guest: guest == "files")
    monkeypatch.setattr("skep_helper.guard.client.read", lambda policy, guest: {"disks": {"data": ["disk-0", "qcow2"]}})
    monkeypatch.setattr("skep_helper.guard.client.grow", lambda policy, *told: grown.append(told))
    refused(lab, RemoveDisk(guest="files", disk="data", key=KEY), "busy", "stop it")
    refused(lab, TrashGuestFolder(guest="files", key=KEY), "busy", "stop it")
    before = tree(lab.pool)
    with pytest.raises(Failure, match="stop it"):
        lab.ask(CreateDisk(guest="copy", disk="data", size=8 * MIB, source_guest="files"))
    assert tree(lab.pool) == before
    lab.ask(GrowDisk(guest="files", disk="data", size=16 * MIB))
    assert grown == [("files", "data", 16 * MIB)]
    # A disk that the guest does not run with is at rest.
    lab.ask(CreateDisk(guest="files", disk="new", size=8 * MIB))
    lab.ask(GrowDisk(guest="files", disk="new", size=16 * MIB))
    assert {disk.disk: disk.size for disk in lab.folder("files").disks} == {"data": 8 * MIB, "new": 16 * MIB}
    lab.ask(RemoveDisk(guest="files", disk="new", key=KEY))
    assert [disk.disk for disk in lab.folder("files").disks] == ["data"]
    assert len(grown) == 1


def test_a_key_with_nothing_under_it_is_no_key(lab: Lab) -> None:
    """A crash comes between making the folder under a key and moving something into it."""
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
    (lab.pool / "trash" / KEY / "disks" / "files").mkdir(parents=True, mode=0o700)
    (lab.pool / "trash" / ("f" * 16) / "guests").mkdir(parents=True, mode=0o700)
    assert lab.reading().trash == ()
    lab.ask(RemoveDisk(guest="files", disk="data", key=KEY))
    storage.prepare(lab.policy)
    assert sorted(os.listdir(lab.pool / "trash")) == [KEY]
    lab.ask(RemoveDisk(guest="files", disk="data", key=KEY, undo=True))
    assert os.listdir(lab.pool / "trash") == []


def test_work_on_a_guest_excludes_other_work_on_it(lab: Lab) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
    with storage.layout.held_guest(lab.policy, "files"):
        for request in (TrashGuestFolder(guest="files", key=KEY), RemoveDisk(guest="files", disk="data", key=KEY)):
            refused(lab, request, "busy", "other work")
    with storage.layout.held_guest(lab.policy, "files", shared=True):
        refused(lab, TrashGuestFolder(guest="files", key=KEY), "busy")
        lab.ask(CreateDisk(guest="files", disk="more", size=8 * MIB))


def test_two_processes_make_one_disk(lab: Lab) -> None:
    lab.guest("files")
    request = CreateDisk(guest="files", disk="data", size=64 * MIB, edition="full")
    pids = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                lab.ask(request)
                code = 0
            finally:
                os._exit(code)
        pids.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0] * 4
    assert sorted(os.listdir(lab.pool / "guests" / "files" / "disks")) == ["data.json", "data.qcow2"]


def test_a_cancelled_copy_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.guest("files")
    before = tree(lab.pool)

    def cancelled(done: int, total: int) -> None:
        raise Failure("cancelled", "cancelled")

    context = Context(policy=lab.policy, peer_uid=0, progress=cancelled)
    request = CreateDisk(guest="files", disk="root", edition="full", image="small", version="1.0")
    with pytest.raises(Failure, match="cancelled"):
        storage.HANDLERS[CreateDisk](context, request)
    assert tree(lab.pool) == before


def test_debris_of_a_crash_is_replaced(lab: Lab) -> None:
    lab.guest("files")
    folder = lab.pool / "guests" / "files" / "disks"
    (folder / ".data.new").write_text("half a disk")
    (folder / ".data.lock").touch()
    (folder / "data.json").write_text('{"format": "raw", "edition": "full", "image": "", "linked": false}')
    assert lab.folder("files").disks == ()
    lab.ask(CreateDisk(guest="files", disk="data", size=8 * MIB))
    assert sorted(os.listdir(folder)) == ["data.json", "data.qcow2"]
    assert lab.folder("files").disks[0].format == "qcow2"


def test_a_full_pool_is_said_to_be_full(lab: Lab, tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    tool("mount", "-t", "tmpfs", "-o", "size=12m", "skep-test", mount)
    try:
        small = Lab(mount)
        small.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
        small.image("small", "1.0", "raw", b"\7" * (6 * MIB))
        copy = CreateDisk(guest="files", disk="copy", image="small", version="1.0", format="raw")
        before = tree(small.pool)
        result = []

        def attempt() -> None:
            try:
                small.ask(copy)
            except OSError as error:
                result.append(error.errno)
            except Failure as error:
                result.append(error.code)

        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
        assert result in ([28], ["full"])
        assert tree(small.pool) == before
        with pytest.raises(Failure, match="MiB are free"):
            small.ask(CreateDisk(guest="files", disk="full", size=32 * MIB, edition="full"))
    finally:
        tool("umount", mount)


def test_qemu_img_runs_without_privilege_and_sees_no_path(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    script = lab.policy.run / "qemu-img"
    script.write_text('#!/bin/sh\nid -u >&2; id -G >&2; cat "$2" >&2; env >&2; exit 1\n')
    for folder in script.parents:
        if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o711)
    script.chmod(0o755)
    monkeypatch.setattr(storage_tool, "QEMU_IMG", str(script))
    errors: list[bytes] = []
    monkeypatch.setattr(storage_tool, "_failure", lambda what, code, text: errors.append(text) or Failure("x", "y"))
    monkeypatch.setenv("SECRET", "in the environment")
    lab.guest("files")
    with pytest.raises(Failure):
        lab.ask(CreateDisk(guest="files", disk="data", size=8 * MIB, edition="full"))
    told = errors[0].decode()
    uid = str(lab.policy.guest_uids[1])
    assert told.split()[:2] == [uid, uid]
    assert "SECRET" not in told
    denied = subprocess.run(
        ["ls", lab.pool / "guests"], user=int(uid), group=int(uid), extra_groups=[], capture_output=True, check=False
    )
    assert denied.returncode != 0


def test_a_damaged_disk_hides_nothing_else(lab: Lab) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="good", size=8 * MIB))
    lab.ask(CreateDisk(guest="files", disk="bad", size=8 * MIB))
    lab.disk("files", "bad").write_bytes(b"overwritten")
    assert {disk.disk: disk.size for disk in lab.folder("files").disks} == {"good": 8 * MIB, "bad": 0}
    with pytest.raises(Failure, match="damaged"):
        lab.ask(GrowDisk(guest="files", disk="bad", size=16 * MIB))


def test_reading_starts_no_process(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.image("small", "1.0", "qcow2", qcow2_content(tmp_path, 7))
    lab.guest("files", CreateDisk(guest="files", disk="root", image="small", version="1.0"))

    def never(*arguments: object, **words: object) -> None:
        raise AssertionError("a process was started")

    for name in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        monkeypatch.setattr(name, never)
    assert lab.folder("files").disks[0].image == "small:1.0"


def test_a_link_in_the_way_of_a_disk_is_refused(lab: Lab, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    lab.ask(CreateGuestFolder(guest="files"))
    disks = lab.pool / "guests" / "files" / "disks"
    (disks / "data.qcow2").symlink_to(victim)
    for request in (
        GrowDisk(guest="files", disk="data", size=16 * MIB),
        CreateDisk(guest="files", disk="data", size=16 * MIB),
    ):
        with pytest.raises(Rejected):
            lab.ask(request)
    disks.rename(tmp_path / "moved")
    disks.symlink_to(tmp_path / "moved")
    with pytest.raises(Rejected):
        lab.ask(CreateDisk(guest="files", disk="other", size=16 * MIB))
    assert victim.read_text() == "as it was"


def test_a_forged_backing_file_is_not_read_though_anyone_may(lab: Lab, tmp_path: Path) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="root", size=8 * MIB))
    tool("qemu-img", "rebase", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", lab.disk("files", "root"))
    copy = CreateDisk(guest="copy", disk="root", size=8 * MIB, source_guest="files", format="raw", edition="full")
    lab.guest("copy", copy)
    assert holds(lab.disk("copy", "root", "raw"), 0, 0, 8 * MIB, "raw")


def test_a_forged_data_file_is_refused(lab: Lab, tmp_path: Path) -> None:
    lab.guest("files", CreateDisk(guest="files", disk="root", size=8 * MIB))
    options = f"data_file={tmp_path / 'data'},data_file_raw=on"
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, lab.disk("files", "root"), str(8 * MIB))
    refused(lab, GrowDisk(guest="files", disk="root", size=16 * MIB), "failed", "refers to another file")


def test_at_start_what_is_half_done_is_swept(lab: Lab, tmp_path: Path) -> None:
    lab.image("small", "1.0", "raw", bytes(2 * MIB))
    lab.guest("files", CreateDisk(guest="files", disk="data", size=8 * MIB))
    before = tree(lab.pool)
    disks = lab.pool / "guests" / "files" / "disks"
    (disks / ".more.new").write_text("half a disk")
    (disks / ".more.lock").touch()
    for place in (lab.pool / "trash" / f".{KEY}.doomed", lab.pool / "images" / "small" / ".2.0.doomed"):
        place.mkdir()
        (place / "file").touch()
    storage.recover(lab.policy)
    after = tree(lab.pool)
    assert after.keys() == before.keys()
    (disks / ".data.new").write_text("half a disk")
    lab.ask(RemoveDisk(guest="files", disk="data", key=KEY))
    assert os.listdir(disks) == []


@pytest.mark.parametrize("size", [MIB, 512 * MIB, 512 * MIB + 512, 1 << 40, 256 << 40])
def test_qemu_finds_nothing_wrong_with_disks_that_we_write(lab: Lab, size: int) -> None:
    lab.image("small", "1.0", "raw", b"\7" * MIB)
    lab.guest("files", CreateDisk(guest="files", disk="blank", size=size))
    lab.ask(CreateDisk(guest="files", disk="root", size=size, image="small", version="1.0"))
    for name in ("blank", "root"):
        path = lab.disk("files", name)
        assert "No errors" in tool("qemu-img", "check", path)
        tool("qemu-io", "-f", "qcow2", "-c", f"write -P 3 {size - 512} 512", path)
        assert "No errors" in tool("qemu-img", "check", path)
        assert holds(path, 3, size - 512, 512)
        assert json.loads(tool("qemu-img", "info", "--output=json", path))["virtual-size"] == size


def test_sizes_are_whole_sectors(lab: Lab) -> None:
    for format in ("qcow2", "raw"):
        odd = CreateDisk(guest="files", disk=f"odd-{format}", size=MIB + 1, format=format)
        lab.guest("files", odd)
        lab.ask(odd)
        lab.ask(GrowDisk(guest="files", disk=odd.disk, size=MIB + 2))
    assert {disk.size for disk in lab.folder("files").disks} == {MIB + 512}
