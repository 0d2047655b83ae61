"""Guests of vm-bhyve on real OpenZFS: read, taken over without copying, given back, all of it repeatable."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from skep_helper import zfs as storage
from skep_helper.handlers import Context, Failure
from skep_helper.policy import Policy
from skep_helper.vocabulary import (
    AdoptDisk,
    AdoptVariables,
    CreateGuestFolder,
    ReadStorage,
    ReadVmBhyve,
    Rejected,
    TrashGuestFolder,
    VmBhyveReading,
)
from skep_helper.zfs import adoption
from zfs_lab import await_node, zfs

KEY = "ab" * 16
CONF = 'loader="uefi"\ncpu=1\nmemory=256M\ndisk0_type="virtio-blk"\ndisk0_name="disk0"\ndisk0_dev="sparse-zvol"\n'


class Site:
    """A pool with vm-bhyve's dataset, a guest `web` in it, and Skep's own."""

    def __init__(self, pool: str, base: Path) -> None:
        self.store, self.dataset = f"{pool}/vm", f"{pool}/skep"
        self.policy = Policy(
            pool=base / "pool", dataset=self.dataset, run=base / "run", user="root", group="root",
            adopt=(self.store,),
        )  # fmt: skip
        zfs("create", self.store)
        zfs("create", f"{self.store}/web")
        zfs("create", "-s", "-V", "64M", "-o", "volmode=dev", f"{self.store}/web/disk0")
        self.folder = Path(zfs("get", "-H", "-o", "value", "mountpoint", f"{self.store}/web").strip())
        (self.folder / "web.conf").write_text(CONF)
        (self.folder / "uefi-vars.fd").write_bytes(b"variables")
        (self.folder / "disk1.img").write_bytes(bytes(4096))
        config = self.folder.parent / ".config"
        config.mkdir()
        (config / "system.conf").write_text('switch_list="public"\n')
        storage.prepare(self.policy)
        self.do(CreateGuestFolder(guest="web"))

    def do(self, request: object) -> object:
        return storage.HANDLERS[type(request)](Context(policy=self.policy, peer_uid=0), request)

    def take(self, undo: bool = False) -> None:
        self.do(AdoptDisk(guest="web", disk="root", source=f"{self.store}/web/disk0", undo=undo))

    def disks(self) -> dict[str, str]:
        reading = self.do(ReadStorage())
        return {disk.disk: disk.adopted for folder in reading.folders for disk in folder.disks}  # type: ignore[attr-defined]

    def foreign(self) -> str:
        """All that is vm-bhyve's, but what its volumes are used for."""
        files = {str(path): path.read_bytes() for path in sorted(self.folder.parent.rglob("*")) if path.is_file()}
        listed = zfs("get", "-Hp", "-r", "-s", "local", "-o", "name,property,value", "all", self.store)
        return f"{listed}{files}"


@pytest.fixture
def site(pool: str, tmp_path: Path) -> Site:
    os.chmod(tmp_path, 0o755)
    return Site(pool, tmp_path)


def mark(volume: str, text: bytes) -> None:
    with await_node(volume).open("r+b", buffering=0) as device:
        device.write(text.ljust(4096, b"."))
        os.fsync(device.fileno())


def marked(volume: str) -> bytes:
    with await_node(volume).open("rb", buffering=0) as device:
        return device.read(4096).rstrip(b".")


def test_guests_are_read_as_they_lie(site: Site) -> None:
    found = site.do(ReadVmBhyve())
    assert isinstance(found, VmBhyveReading)
    (web,) = found.guests
    assert (web.name, web.text, web.variables, web.busy, web.suspended) == ("web", CONF, True, "", False)
    assert {(disk.name, disk.kind, disk.size) for disk in web.disks} >= {
        ("disk0", "zvol", 64 << 20), ("disk1.img", "file", 4096),
    }  # fmt: skip
    assert found.system == 'switch_list="public"\n'
    assert found.system_file == f"{site.folder.parent}/.config/system.conf"


def test_a_disk_changes_hands_and_comes_back_with_its_snapshots(site: Site) -> None:
    source, here = f"{site.store}/web/disk0", f"{site.dataset}/guests/web/root"
    mark(source, b"written under vm-bhyve")
    zfs("snapshot", f"{source}@2026-01-01-00:00:00")
    before = site.foreign()
    txg = zfs("get", "-Hp", "-o", "value", "createtxg", source)
    for _ in range(2):
        site.take()
        assert site.disks() == {"root": source}
        assert marked(here) == b"written under vm-bhyve"
    assert zfs("get", "-Hp", "-o", "value", "createtxg", here) == txg, "it is the same volume, not a copy"
    assert zfs("list", "-H", "-o", "name", "-t", "snapshot", here).strip() == f"{here}@2026-01-01-00:00:00"
    mark(here, b"written under Skep")
    for _ in range(2):
        site.take(undo=True)
        assert site.disks() == {}
    assert marked(source) == b"written under Skep"
    assert site.foreign() == before
    site.do(TrashGuestFolder(guest="web", key=KEY))


def test_a_death_between_mark_and_rename_is_finished(site: Site) -> None:
    source = f"{site.store}/web/disk0"
    zfs("set", "skep:disk=thin", f"skep:adopted={source}", source)
    site.take()
    assert site.disks() == {"root": source}
    site.take(undo=True)
    assert "skep:" not in zfs("get", "-Hp", "-s", "local", "-o", "property", "all", source)


def test_variables_are_copied_once(site: Site) -> None:
    source = f"{site.store}/web"
    site.do(AdoptVariables(guest="web", source=source))
    home = site.policy.pool / "guests/web/uefi-vars.fd"
    assert home.read_bytes() == b"variables"
    home.write_bytes(b"changed by the guest")
    site.do(AdoptVariables(guest="web", source=source))
    assert home.read_bytes() == b"changed by the guest"


def test_what_is_not_listed_runs_or_is_no_volume_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for source in (f"{site.store}/web", f"{site.dataset}/guests/web/root", "other/vm/web/disk0"):
        with pytest.raises(Rejected, match="the policy lets Skep adopt from"):
            site.do(AdoptDisk(guest="web", disk="root", source=source))
    (site.folder / "run.lock").write_text(f"{socket.gethostname()}\n")
    assert site.do(ReadVmBhyve()).guests[0].busy == ""  # type: ignore[attr-defined]
    (site.folder / "run.lock").write_text("elsewhere\n")
    with pytest.raises(Failure, match=r"runs \(run.lock of elsewhere\): vm stop web") as refused:
        site.take()
    assert refused.value.code == "busy"
    (site.folder / "run.lock").unlink()
    vmm = site.policy.run / "vmm"
    (vmm / "web").mkdir(parents=True)
    monkeypatch.setattr(adoption, "VMM", vmm)
    with pytest.raises(Failure, match=r"runs .*/web exists"):
        site.take()
    monkeypatch.undo()
    zfs("create", f"{site.store}/web/plain")
    with pytest.raises(Failure, match="only volumes become disks"):
        site.do(AdoptDisk(guest="web", disk="root", source=f"{site.store}/web/plain"))
    with pytest.raises(Failure, match="there is no dataset"):
        site.do(AdoptDisk(guest="web", disk="root", source=f"{site.store}/web/none"))
    with pytest.raises(Failure, match="was never"):
        site.do(AdoptDisk(guest="web", disk="root", source=f"{site.store}/web/none", undo=True))
    site.take()
    zfs("create", "-s", "-V", "64M", f"{site.store}/web/disk9")
    with pytest.raises(Failure, match="another disk root already"):
        site.do(AdoptDisk(guest="web", disk="root", source=f"{site.store}/web/disk9"))
    zfs("create", "-s", "-V", "64M", f"{site.store}/web/disk0")
    with pytest.raises(Failure, match="is there again"):
        site.take(undo=True)


def test_without_a_line_in_the_policy_nothing_is_read(site: Site) -> None:
    site.policy = Policy(**{**vars(site.policy), "adopt": ()})
    with pytest.raises(Rejected, match="names no dataset to adopt from"):
        site.do(ReadVmBhyve())
