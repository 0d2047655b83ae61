"""What is read of a host before a guest starts, what is refused, and what is written for guard and bhyve."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bhyve_reading import devices, parse
from bhyve_transcripts import Block, blocks
from skep_helper import policy as policies
from skep_helper.freebsd import (
    guests_check,
    guests_facts,
    guests_firmware,
    guests_root,
    guests_rulesets,
    guests_sources,
    guests_start,
)
from skep_helper.freebsd.bhyve import jail
from skep_helper.freebsd.guests_facts import Facts
from skep_helper.guard import protocol, state
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder, open_folder
from skep_helper.policy import Policy
from skep_helper.vocabulary import Rejected
from skep_helper.vocabulary.guest import Cpus, DiskDevice, GuestSpec, MediaDevice, NicDevice, StartGuest
from starting import at_once

GIB = 1 << 30
PCICONF = b"""\
hostb0@pci0:0:0:0:\tclass=0x060000 rev=0x00 hdr=0x00 vendor=0x8086 device=0x29c0 subvendor=0x1af4 subdevice=0x1100
virtio_pci0@pci0:0:1:0:\tclass=0x010000 rev=0x00 hdr=0x00 vendor=0x1af4 device=0x1001 subvendor=0x1af4 subdevice=0x0002
pcib1@pci0:0:28:0:\tclass=0x060400 rev=0x00 hdr=0x81 vendor=0x8086 device=0x2940 subvendor=0x0000 subdevice=0x0000
    cap 10[40] = PCI-Express 2 root port max data 128(128)
    cap 05[90] = MSI supports 1 message
ppt0@pci0:3:0:0:\tclass=0x020000 rev=0x00 hdr=0x80 vendor=0x8086 device=0x1521 subvendor=0x8086 subdevice=0x0001
    cap 01[40] = powerspec 3  supports D0 D3  current D0
    cap 05[50] = MSI supports 1 message, 64 bit, vector masks
    cap 11[70] = MSI-X supports 10 messages, enabled
igb0@pci0:3:0:1:\tclass=0x020000 rev=0x00 hdr=0x80 vendor=0x8086 device=0x1521 subvendor=0x8086 subdevice=0x0001
    cap 11[70] = MSI-X supports 10 messages, enabled
ppt1@pci0:4:0:0:\tclass=0x0c0300 rev=0x00 hdr=0x00 vendor=0x8086 device=0x27c8 subvendor=0x8086 subdevice=0x0001
    cap 01[40] = powerspec 2  supports D0 D3  current D0
none0@pci0:0:31:3:\tclass=0x0c0500 rev=0x02 hdr=0x00 vendor=0x8086 device=0x2930 subvendor=0x1af4 subdevice=0x1100
"""


def spec(**options: Any) -> GuestSpec:
    return GuestSpec(**{"name": "files", "digest": "ab" * 8, "memory": GIB, **options})


def host(**options: Any) -> Facts:
    usual = {"release": 1302001, "max_cpus": 4, "memory": 8 * GIB, "kept": GIB, "iommu": True}
    return Facts(**{**usual, "devices": guests_facts.pci_devices(PCICONF), **options})


def dmesg(number: int) -> Block:
    return [block for block in blocks("09-bhyve-args.txt") if block.command == "dmesg | tail -4"][number]


def test_why_vmm_refused_a_processor() -> None:
    """On all three `kldload vmm` exited 0 and hw.vmm was there."""
    assert guests_facts.refusal(dmesg(0).stdout) == ""
    assert guests_facts.refusal(dmesg(1).stdout) == "SVM: not available"
    assert guests_facts.refusal(dmesg(2).stdout) == "SVM: NRIP Save feature not available"
    values = {"kern.osreldate": "1302001", "hw.physmem": "6428151808", "hw.vmm.maxcpu": "2"}
    facts = guests_facts.judge(values, loaded=False, reason="SVM: not available", nmdm=True, devices={})
    assert facts.vmm == "vmm(4) refuses this processor (SVM: not available)"
    assert "kldload vmm" in guests_facts.judge(values, loaded=False, reason="", nmdm=True, devices={}).vmm


def test_a_host_that_works() -> None:
    listed = next(block for block in blocks("11-bhyvectl.txt") if block.command == "sysctl hw.vmm")
    values = guests_facts.parse_sysctl(listed.stdout.replace(": ", "="))
    values |= {"hw.physmem": "6415732736", "kern.osreldate": "1302001", "kstat.zfs.misc.arcstats.c_min": str(GIB)}
    facts = guests_facts.judge(values, loaded=True, reason="", nmdm=True, devices={})
    assert (facts.vmm, facts.max_cpus, facts.iommu) == ("", 2, False)
    assert facts.kept == GIB + 512 * (1 << 20)
    intel = {**values, "hw.vmm.vmx.initialized": "1"}
    assert "unrestricted" in guests_facts.judge(intel, loaded=True, reason="", nmdm=True, devices={}).vmm


def test_drivers_of_pci_devices() -> None:
    found = guests_facts.pci_devices(PCICONF)
    assert {address: device.driver for address, device in found.items()} == {
        "0000:00:00.0": "hostb", "0000:00:01.0": "virtio_pci", "0000:00:1c.0": "pcib", "0000:03:00.0": "ppt",
        "0000:03:00.1": "igb", "0000:04:00.0": "ppt", "0000:00:1f.3": "none",
    }  # fmt: skip
    assert {address for address, device in found.items() if device.messages} == {
        "0000:00:1c.0", "0000:03:00.0", "0000:03:00.1",
    }  # fmt: skip
    assert [address for address, device in found.items() if device.bridge] == ["0000:00:1c.0"]


POLICY = Policy(passthrough=("0000:03:00.0", "0000:00:01.0", "0000:07:00.0", "0000:00:1c.0", "0000:04:00.0"))


@pytest.mark.parametrize(
    ("guest", "facts", "code", "words"),
    [
        (spec(), host(vmm="vmm(4) is not loaded"), "unsupported", "vmm"),
        (spec(), host(nmdm=False), "unsupported", "kldload vmm nmdm"),
        (spec(cpus=Cpus(cores=5)), host(), "unsupported", "at most 4"),
        (spec(memory=7 * GIB), host(), "full", "6144 MiB are free .*1024 MiB stay with the host"),
        (spec(tpm=True), host(), "unsupported", "from FreeBSD 14.0 on"),
        (spec(tpm=True), host(release=1500000), "unsupported", "drives no swtpm"),
        (spec(secure_boot=True), host(), "unsupported", "no secure boot"),
        (spec(passthrough=("0000:03:00.0",)), host(iommu=False), "unsupported", "no IOMMU"),
        (spec(passthrough=("0000:07:00.0",)), host(), "missing", "not in this host"),
        (spec(passthrough=("0000:00:1c.0",)), host(), "unsupported", "is a bridge"),
        (spec(passthrough=("0000:04:00.0",)), host(), "unsupported", "neither MSI nor MSI-X"),
        (spec(passthrough=("0000:03:00.0",)), host(wirable=GIB - 1), "full", r"1023 MiB may still.*max_user_wired"),
        (spec(passthrough=("0000:00:01.0",)), host(), "unsupported", r'virtio_pci, not to ppt.*pptdevs="0/1/0"'),
    ],
)
def test_refusals(guest: GuestSpec, facts: Facts, code: str, words: str) -> None:
    with pytest.raises(Failure, match=words) as refused:
        guests_check.check(guest, facts, POLICY, GIB)
    assert refused.value.code == code


def test_what_passes() -> None:
    guests_check.check(spec(memory=6 * GIB, passthrough=("0000:03:00.0",)), host(), POLICY, GIB)
    limited = Policy(memory_limit=2 * GIB)
    with pytest.raises(Failure, match="1024 MiB are free for guests: stop"):
        guests_check.check(spec(memory=2 * GIB), host(), limited, GIB)
    with pytest.raises(Rejected, match="not listed"):
        guests_check.check(spec(passthrough=("0000:09:00.0",)), host(), POLICY, 0)
    with pytest.raises(Failure, match="in use by another guest"):
        guests_check.check(spec(passthrough=("0000:03:00.0",)), host(), POLICY, 0, frozenset({"0000:03:00.0"}))


def test_memory_that_may_be_wired() -> None:
    recorded = next(block for block in blocks("09-bhyve-args.txt") if "vm.max_user_wired" in block.command)
    values = guests_facts.parse_sysctl(recorded.stdout.replace(": ", "=")) | {"vm.stats.vm.v_user_wire_count": "721"}
    facts = guests_facts.judge(values, loaded=True, reason="", nmdm=True, devices={})
    assert facts.wirable == (1208721 - 721) * 4096
    guests_check.check(spec(passthrough=("0000:03:00.0",)), host(wirable=GIB), POLICY, GIB)
    guests_check.check(spec(), host(wirable=0), POLICY, GIB)
    unknown = guests_facts.judge({}, loaded=True, reason="", nmdm=True, devices={})
    assert unknown.wirable == -1


def test_functions_of_one_device_with_several_users_are_told() -> None:
    guest = spec(passthrough=("0000:03:00.0",))
    assert guests_check.shared(guest, host(), frozenset()).endswith("other users: 0000:03:00.1 is the host's (igb)")
    assert guests_check.shared(guest, host(), frozenset({"0000:03:00.1"})).endswith("0000:03:00.1 is another guest's")
    assert guests_check.shared(spec(passthrough=("0000:04:00.0",)), host(), frozenset()) == ""
    assert guests_check.shared(spec(), host(), frozenset()) == ""


def test_libraries_of_bhyve() -> None:
    listed = "/usr/lib/libvmmapi.so.5\n/lib/libmd.so.6\n/lib/libmd.so.6\nlibnone.so => not found\n[vdso]\n"
    assert guests_root.libraries(listed) == ["/lib/libmd.so.6", "/usr/lib/libvmmapi.so.5"]


def test_the_shared_root_is_made_once_and_anew_for_another_bhyve(tmp_path: Path) -> None:
    program = tmp_path / "usr/sbin/bhyve"
    program.parent.mkdir(parents=True)
    program.write_text("one")
    (tmp_path / "lib.so").symlink_to(program)
    where = str(tmp_path / "run")
    made = guests_root.build(where, [str(program), str(tmp_path / "lib.so")])
    copy = Path(f"{made}{program}")
    assert copy.read_text() == "one"
    assert not Path(f"{made}{tmp_path}/lib.so").is_symlink()
    assert not stat.S_IMODE(copy.stat().st_mode) & 0o222
    assert {"dev", "fd", "run", "tmp"} <= set(os.listdir(made))
    copy.chmod(0o755)
    copy.write_text("mark")
    assert guests_root.build(where, [str(program), str(tmp_path / "lib.so")]) == made
    assert copy.read_text() == "mark", "it was not made again"
    program.write_text("another")
    assert guests_root.build(where, [str(program)]) != made


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / name for name in ("bhyve", "libc.so.7", "sh")]
    for path in paths:
        path.write_text(path.name)
    return [str(path) for path in paths]


def copied(root: str, files: list[str]) -> list[str]:
    return [Path(f"{root}{path}").read_text() for path in files]


def test_a_root_that_a_boot_has_emptied_is_made_anew(tmp_path: Path, files: list[str]) -> None:
    """rc.d/cleanvar: find -x /var/run -type f -delete."""
    where = str(tmp_path / "run/bhyve")
    before = guests_root.build(where, files)
    for path in Path(where).rglob("*"):
        if path.is_file():
            path.unlink()
    root = guests_root.build(where, files)
    assert copied(root, files) == ["bhyve", "libc.so.7", "sh"]
    guests_root.sweep(where, {before})
    assert os.path.isdir(before), "one that is mounted is left alone"
    guests_root.sweep(where, guests_root.sources(f"{root}\t{tmp_path}/jail\tnullfs\tro\t0 0\n"))
    assert [name for name in os.listdir(where) if not name.startswith(".")] == [os.path.basename(root)]
    assert guests_root.build(where, files) == root


def test_a_root_that_was_left_half_made_is_never_used(
    tmp_path: Path, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = str(tmp_path / "run/bhyve")
    copy = guests_root.shutil.copyfile

    def broken(path: str, target: str) -> None:
        if path.endswith("sh"):
            raise OSError(28, "No space left on device")
        copy(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(guests_root.shutil, "copyfile", broken)
        with pytest.raises(OSError, match="No space"):
            guests_root.build(where, files)
    assert copied(guests_root.build(where, files), files) == ["bhyve", "libc.so.7", "sh"]


def test_starts_at_the_same_time_share_one_whole_root(tmp_path: Path, files: list[str]) -> None:
    where = str(tmp_path / "run/bhyve")
    copy = guests_root.shutil.copyfile

    def slow(path: str, target: str) -> None:
        copy(path, target)
        time.sleep(0.02)

    reader, writer = os.pipe()
    children = []
    for _ in range(6):
        pid = os.fork()
        if pid == 0:
            guests_root.shutil.copyfile = slow
            try:
                root = guests_root.build(where, files)
                os.write(writer, f"{os.path.basename(root)} {copied(root, files)}\n".encode())
            finally:
                os._exit(0)
        children.append(pid)
    os.close(writer)
    for pid in children:
        os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        answers = stream.read().splitlines()
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert answers[0].endswith("['bhyve', 'libc.so.7', 'sh']")


def test_rulesets_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(pool=tmp_path / "pool", run=tmp_path / "run")
    for name in ("one", "two"):
        (tmp_path / "pool/guests" / name).mkdir(parents=True)
    monkeypatch.setattr(guests_rulesets, "COUNT", 2)
    numbers = {name: guests_rulesets.claim(policy, name) for name in ("one", "two")}
    assert sorted(numbers.values()) == [20000, 20001]
    assert guests_rulesets.claim(policy, "one") == numbers["one"]
    with pytest.raises(Failure):
        guests_rulesets.claim(policy, "three")
    (tmp_path / "pool/guests/two").rmdir()
    assert guests_rulesets.claim(policy, "three") == numbers["two"]


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({"memory": 2 * GIB}, ["full", "full", "started"]),
        ({"passthrough": ("0000:03:00.0",)}, ["busy", "busy", "started"]),
    ],
)
def test_starts_at_the_same_time_do_not_share_memory_or_devices(
    policy: Policy, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], answers: list[str]
) -> None:
    names = ["one", "two", "three"]
    for name in names:
        (policy.pool / "guests" / name).mkdir()
    policy = dataclasses.replace(policy, memory_limit=3 * GIB)
    monkeypatch.setattr(guests_facts, "read", host)
    monkeypatch.setattr(guests_sources, "storage", FakeStorage)
    monkeypatch.setattr(guests_root, "prepare", lambda policy: "/none")
    monkeypatch.setattr(guests_start, "prepare", lambda *arguments: {"state": {}})

    def start(name: str, begun: Callable[[], None]) -> None:
        def spawn(*arguments: Any) -> dict[str, Any]:
            begun()
            raise Failure("failed", "the end of the test")

        guests_start.client.spawn = spawn
        guests_start.start(Context(policy=policy, peer_uid=0), StartGuest(guest=spec(name=name, **options)))

    assert at_once(names, start) == answers
    assert at_once(["one"], start) == ["started"], "what was reserved by those that are gone is free again"


def test_firmware_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="pkg install edk2-bhyve"):
        guests_firmware.find((str(tmp_path),))
    for name in (guests_firmware.CODE, guests_firmware.VARS):
        (tmp_path / f"real-{name}").write_text(name)
        (tmp_path / name).symlink_to(f"real-{name}")
    code, _ = guests_firmware.find(("/none", str(tmp_path)))
    assert code.endswith("real-BHYVE_UEFI_CODE.fd"), "links are resolved, because none is followed when it is opened"


class FakeStorage:
    def guest_folder(self, policy: Policy, guest: str) -> Folder:
        return open_folder(policy.pool / "guests" / guest)

    @contextmanager
    def held_guest(self, policy: Policy, guest: str) -> Iterator[Folder]:
        with self.guest_folder(policy, guest) as home:
            yield home

    def disk_path(self, policy: Policy, guest: str, disk: str) -> str:
        return f"/dev/zvol/tank/skep/guests/{guest}/{disk}"

    def image_path(self, policy: Policy, image: str, version: str) -> str:
        return f"/tank/skep/images/{image}/{version}/image"


FULL = spec(
    profile="windows", disks=(DiskDevice(disk="system", slot=0), DiskDevice(disk="data", slot=1, model="nvme")),
    nics=(NicDevice(port="files.lan", slot=2, mac="52:54:00:00:00:01"),),
    media=(MediaDevice(image="setup", version="11", slot=3, until_reboot=True),
           MediaDevice(image="drivers", version="1", slot=4)),
    seed=True, local_clock=True,
)  # fmt: skip


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Policy:
    made = Policy(pool=tmp_path / "pool", run=tmp_path / "run", passthrough=("0000:03:00.0",), group="wheel-none")
    home = tmp_path / "pool/guests/files"
    home.mkdir(parents=True)
    (home / "seed.iso").write_text("seed")
    state.Folder(str(made.run), "files").make()
    for name in (guests_firmware.CODE, guests_firmware.VARS):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(
        guests_firmware, "find", lambda: tuple(f"{tmp_path}/BHYVE_UEFI_{x}.fd" for x in ("CODE", "VARS"))
    )
    monkeypatch.setattr(guests_sources, "tap_device", lambda policy, port: "tap30")
    return made


def prepare(policy: Policy, guest: GuestSpec = FULL) -> dict[str, Any]:
    with FakeStorage().guest_folder(policy, guest.name) as home:
        launch = guests_start.prepare(policy, guest, home, FakeStorage(), f"{policy.run}/bhyve/key")
    return dict(json.loads(json.dumps(launch))["state"])


def named(launch: dict[str, Any], settings: dict[str, str], files: str = "files") -> dict[str, str]:
    """Paths by variable: what bhyve gets where its configuration names a descriptor."""
    return {
        key: launch[files][int(value.rpartition("/")[2]) - 3][0]
        for key, value in settings.items()
        if value.startswith("/fd/")
    }


def test_every_number_is_the_file_that_is_meant(policy: Policy, tmp_path: Path) -> None:
    launch = prepare(policy)["launch"]
    assert launch["argv"] == ["/usr/sbin/bhyve", "-k", "/fd/3"]
    conf = Path(launch["files"][0][0])
    found = named(launch, parse(conf.read_text()))
    home, zvol = tmp_path / "pool/guests/files", "/dev/zvol/tank/skep/guests/files"
    assert found == {
        "lpc.bootrom": f"{tmp_path}/BHYVE_UEFI_CODE.fd", "lpc.bootvars": f"{home}/uefi-vars.fd",
        "pci.0.3.0.port.0.path": f"{home}/seed.iso", "pci.0.4.0.path": f"{zvol}/system",
        "pci.0.5.0.path": f"{zvol}/data",
        "pci.0.7.0.port.0.path": "/tank/skep/images/setup/11/image",
        "pci.0.8.0.port.0.path": "/tank/skep/images/drivers/1/image",
    }  # fmt: skip
    writable = {path for path, flag in launch["files"] if flag}
    assert writable == {f"{home}/uefi-vars.fd", f"{zvol}/system", f"{zvol}/data"}
    assert (home / "uefi-vars.fd").read_text() == "BHYVE_UEFI_VARS.fd"


def test_after_a_reboot_the_installer_is_gone_and_nothing_else_moved(policy: Policy) -> None:
    record = prepare(policy)
    launch = record["launch"]
    before, after = (parse(Path(launch[name][0][0]).read_text()) for name in ("files", "files_after"))
    gone = named(launch, before)
    kept = named(launch, after, "files_after")
    assert set(gone) - set(kept) == {"pci.0.7.0.port.0.path"}
    assert {key: gone[key] for key in kept} == kept
    assert devices(after)["7.0"] == {"device": "ahci"}
    assert record["media"] == {"setup:11": 3}
    assert "" in {path for path, _ in launch["files_after"]}


def test_a_medium_that_was_detached_stays_out(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "pool/guests/files/detached.json").write_text('["setup:11"]')
    record = prepare(policy)
    assert (record["detached"], record["media_detached"], record["media"]) == (["setup:11"], True, {})
    text = Path(record["launch"]["files"][0][0]).read_text()
    assert not [key for key, path in named(record["launch"], parse(text)).items() if "setup" in path]


def test_the_password_is_in_roots_files_alone(policy: Policy, tmp_path: Path) -> None:
    launch = prepare(policy)["launch"]
    path = Path(launch["password"])
    password = path.read_text()
    assert re.fullmatch(r"[A-Za-z0-9]{8}", password)
    for secret in (path, Path(launch["files"][0][0])):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
        assert password in secret.read_text()
    assert password not in json.dumps(launch)
    copy = (tmp_path / "pool/guests/files/vmm.conf").read_text()
    assert password not in copy
    assert prepare(policy)
    assert path.read_text() != password, "a new one for each start"


def test_the_readable_copy_is_a_configuration_with_paths(policy: Policy) -> None:
    launch = prepare(policy)["launch"]
    real, copy = (
        parse(Path(name).read_text()) for name in (launch["files"][0][0], f"{policy.pool}/guests/files/vmm.conf")
    )
    paths = named(launch, real)
    assert {key: value for key, value in copy.items() if key in paths} == paths
    differing = {key for key in real if real[key] != copy.get(key)} - set(paths)
    assert differing == {"pci.0.29.0.password", "pci.0.2.0.port.0.path"}


def test_the_jail_sees_this_guests_devices(policy: Policy) -> None:
    launch = prepare(policy)["launch"]
    made = jail.from_json(launch["jail"])
    assert (made.name, made.vm) == ("skep_g_files", "skep.files")
    assert jail.patterns(made)[-4:] == ["vmm/skep.files", "vmm.io/skep.files.*", "tap30", "nmdmskep.files.*"]
    assert launch["line"] == "/dev/nmdmskep.files.A"
    assert policies.parse(launch["policy"]) == policy, "the guard's children get the same policy"
    assert len(json.dumps(launch)) < protocol.MAX_MESSAGE // 8


def test_what_is_not_there(policy: Policy, tmp_path: Path) -> None:
    (tmp_path / "pool/guests/files/seed.iso").unlink()
    with pytest.raises(Failure, match="has no seed"):
        prepare(policy)


def test_the_storage_has_what_guests_ask_of_it() -> None:
    wanted = {name for name in vars(guests_sources.Storage) if not name.startswith("_")}
    assert wanted
    assert wanted <= set(vars(guests_sources.storage()))


def test_a_port_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"port files\.lan is not on this host"):
        guests_sources.tap_device(Policy(run=tmp_path), "files.lan")


def test_the_platforms_table() -> None:
    from skep_helper import freebsd, platforms
    from skep_helper.guard import guard

    platform = platforms.assemble(freebsd.NAME, "boot", freebsd.modules(Policy()))
    from skep_helper.linux import guests as linux_guests

    assert set(linux_guests.HANDLERS) <= set(platform.handlers), "no request about guests is missing"
    assert platform.long >= linux_guests.LONG
    assert freebsd.DRIVER in guard.DRIVERS
    assert guard.driver_module(freebsd.DRIVER).Driver
