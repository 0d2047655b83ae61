"""Parts of the guest handlers that need no QEMU."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from skep_helper.guard import agent, probing, readings, state
from skep_helper.handlers import Context, Failure
from skep_helper.linux import guests_kvm, guests_passthrough, guests_start, guests_uids
from skep_helper.linux.qemu import process
from skep_helper.policy import Policy
from skep_helper.vocabulary import Rejected
from skep_helper.vocabulary.guest import GuestSpec, ReadGuests, StartGuest
from starting import at_once


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy(pool=tmp_path / "pool", run=tmp_path / "run", guest_uids=(700, 703), passthrough=("0000:03:00.0",))


def test_no_two_guests_share_a_uid(policy: Policy) -> None:
    for name in ("one", "two", "three"):
        (policy.pool / "guests" / name).mkdir(parents=True)
    uids = {name: guests_uids.claim(policy, name) for name in ("one", "two", "three")}
    assert sorted(uids.values()) == [700, 701, 702], "the last uid of the range is qemu-img's"
    assert guests_uids.claim(policy, "one") == uids["one"]
    assert guests_uids.claim(policy, "two", wanted=uids["one"]) == uids["two"]
    with pytest.raises(Failure) as refused:
        guests_uids.claim(policy, "four")
    assert refused.value.code == "full"
    (policy.pool / "guests" / "three").rmdir()
    assert guests_uids.claim(policy, "four") == uids["three"], "a guest that is gone gives its uid back"


def test_a_recorded_uid_is_kept(policy: Policy) -> None:
    assert guests_uids.claim(policy, "moved", wanted=702) == 702
    assert guests_uids.claim(policy, "other", wanted=99) in (700, 701)


def test_starts_at_the_same_time_do_not_share_memory(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = dataclasses.replace(policy, memory_limit=3 << 30)
    for name in ("one", "two", "three", "four", "five", "six"):
        (policy.pool / "guests" / name).mkdir(parents=True)

    def start(name: str, begun: Callable[[], None]) -> None:
        monkeypatch.setattr(guests_start, "_start", lambda *arguments: begun())
        guest = GuestSpec(name=name, digest="ab" * 8, memory=1 << 30)
        guests_start.start(Context(policy=policy, peer_uid=0), StartGuest(guest=guest))

    assert at_once(["one", "two", "three", "four", "five"], start) == ["full"] * 2 + ["started"] * 3
    assert at_once(["six"], start) == ["started"], "what was reserved by those that are gone is free again"


def pci(sysfs: Path, address: str, driver: str | None, group: str | None) -> None:
    device = sysfs / address
    device.mkdir(parents=True)
    if driver:
        (device / "driver").symlink_to(f"/drivers/{driver}")
    if group:
        members = sysfs / "groups" / group / "devices"
        members.mkdir(parents=True, exist_ok=True)
        (members / address).symlink_to(device)
        (device / "iommu_group").symlink_to(sysfs / "groups" / group)


def test_passthrough_says_what_to_do(policy: Policy, tmp_path: Path) -> None:
    def refused(sysfs: Path, address: str = "0000:03:00.0", lent: tuple[str, ...] = ()) -> str:
        with pytest.raises((Failure, Rejected)) as raised:
            guests_passthrough.check(policy, (address,), lent, sysfs)
        return str(raised.value)

    assert "not listed in the policy" in refused(tmp_path, "0000:04:00.0")
    assert "not in this host" in refused(tmp_path / "none")
    pci(tmp_path / "a", "0000:03:00.0", "igb", None)
    assert "no IOMMU group" in refused(tmp_path / "a")
    pci(tmp_path / "b", "0000:03:00.0", "igb", "1")
    assert "bound to igb, not to vfio-pci" in refused(tmp_path / "b")
    pci(tmp_path / "c", "0000:03:00.0", "vfio-pci", "1")
    pci(tmp_path / "c", "0000:03:00.1", "ahci", "1")
    assert "shares its IOMMU group with 0000:03:00.1, which ahci uses" in refused(tmp_path / "c")
    pci(tmp_path / "d", "0000:03:00.0", "vfio-pci", "1")
    pci(tmp_path / "d", "0000:00:01.0", "pcieport", "1")
    guests_passthrough.check(policy, ("0000:03:00.0",), sysfs=tmp_path / "d")
    assert "0000:03:00.0 is in use by another guest: stop" in refused(tmp_path / "d", lent=("0000:03:00.0",))
    pci(tmp_path / "d", "0000:03:00.1", "vfio-pci", "1")
    assert "as its IOMMU group is, with 0000:03:00.1" in refused(tmp_path / "d", lent=("0000:03:00.1",))


def test_echo_request_has_a_checksum() -> None:
    packet = probing.echo_request(0x1234, six=False)
    total = sum(struct.unpack("!6H", packet))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert total == 0xFFFF


def test_only_our_echo_reply_counts() -> None:
    reply = struct.pack("!BBHHH", 0, 0, 0, 7, 1)
    header = bytes([0x46]) + bytes(23)
    assert probing.is_echo_reply(header + reply, 7, six=False)
    assert not probing.is_echo_reply(header + reply, 8, six=False)
    assert not probing.is_echo_reply(header + probing.echo_request(7, False), 7, six=False)
    assert not probing.is_echo_reply(header, 7, six=False)
    assert probing.is_echo_reply(struct.pack("!BBHHH", 129, 0, 0, 7, 1), 7, six=True)


def test_agent_lines_skip_what_is_stale() -> None:
    received = bytearray(b'{"ret\xff{"return": 5}\nrubbish\n{"return"')
    assert agent.take_line(received) == {"return": 5}
    assert agent.take_line(received) is None
    assert received == b'{"return"'


def test_start_time_tells_processes_apart() -> None:
    assert process.start_time(os.getpid()) > 0
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert process.start_time(child) == 0, "a zombie runs no more"
    os.waitpid(child, 0)
    assert process.start_time(child) == 0


def test_readings_of_stopped_guests(policy: Policy) -> None:
    context = Context(policy=policy, peer_uid=0)
    assert readings.read(context, ReadGuests()) == ()
    record = {
        "guest": "files", "state": "crashed", "digest": "ab" * 8, "pid": 0, "started": 1.0, "ending": "error",
        "ended": 2.0, "reboots": 3, "media_detached": True, "accelerator": "tcg", "message": "two\nlines" + "x" * 300,
    }  # fmt: skip
    for name in ("files", "gone"):
        folder = state.Folder(str(policy.run), name)
        folder.make()
        state.write(folder, {**record, "guest": name})
    (policy.pool / "guests" / "files").mkdir(parents=True)
    (reading,) = readings.read(context, ReadGuests())
    assert (reading.name, reading.state, reading.digest, reading.ending) == ("files", "crashed", "", "error")
    assert reading.message.startswith("two linesx")
    assert os.listdir(policy.run / "guests") == ["files"], "nothing is kept of a guest that is gone"


def test_kvm_is_refused_with_a_reason_and_kept(policy: Policy, tmp_path: Path) -> None:
    device = tmp_path / "kvm"
    missing = guests_kvm.feature(policy, str(device))
    assert not missing.works
    assert "there is no" in missing.reason
    device.touch(mode=0o600)
    assert "only root may use" in guests_kvm.feature(policy, str(device)).reason
    assert guests_kvm.feature(policy, str(device)) == guests_kvm.feature(policy, str(device))
