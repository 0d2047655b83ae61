"""Guests under the real bhyve, in real jails: run as root on a FreeBSD host with vmm(4), by a bare Python 3.11.

    PYTHONPATH=packages/skep-helper:tests/freebsd python3.11 tests/freebsd/bhyve_real.py [NAME...]

Everything it makes has names of its own and goes away again. Its guests are ROMs of a few bytes, their disks files.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bhyve_roms as roms
from bhyve_stand_ins import stand_in_for_iasl
from skep_helper.freebsd import guests, guests_firmware, guests_sources, guests_start
from skep_helper.freebsd import network as networks
from skep_helper.freebsd.bhyve import host, line, process
from skep_helper.freebsd.network.records import Records
from skep_helper.guard import spawning, state
from skep_helper.handlers import Context, Failure
from skep_helper.paths import Folder, open_folder
from skep_helper.policy import Policy
from skep_helper.vocabulary import ApplyNetwork, ApplyPort, NetworkSpec, PortSpec, RemoveNetwork, RemovePort
from skep_helper.vocabulary.guest import (
    DiskDevice,
    GuestReading,
    GuestSpec,
    MediaDevice,
    NicDevice,
    OpenAgent,
    OpenConsole,
    OpenScreen,
    PauseGuest,
    Probe,
    ReadConsole,
    ReadGuests,
    ResetGuest,
    ResumeGuest,
    StartGuest,
    StopGuest,
)

SAFETY = 120.0
HANDLERS = {**guests.HANDLERS, **networks.HANDLERS}
NAME = f"real{os.getpid()}-g1"


class Storage:
    """Disks and images are files in the pool's folder."""

    def guest_folder(self, policy: Policy, guest: str) -> Folder:
        return open_folder(policy.pool / "guests" / guest)

    @contextmanager
    def held_guest(self, policy: Policy, guest: str) -> Iterator[Folder]:
        with self.guest_folder(policy, guest) as home:
            yield home

    def disk_path(self, policy: Policy, guest: str, disk: str) -> str:
        path = policy.pool / "guests" / guest / f"{disk}.raw"
        if not path.exists():
            path.write_bytes(bytes(1 << 20))
        return str(path)

    def image_path(self, policy: Policy, image: str, version: str) -> str:
        path = policy.pool / f"{image}-{version}.iso"
        path.write_bytes(bytes(1 << 20))
        return str(path)


class Lab:
    def __init__(self, base: Path) -> None:
        self.base = base
        self.policy = Policy(pool=base / "pool", run=base / "run", log=base / "log", user="root", group="wheel")
        (base / "pool/guests" / NAME).mkdir(parents=True)
        guests_sources.storage = Storage  # type: ignore[assignment]

    def rom(self, *parts: bytes) -> None:
        (self.base / "rom").write_bytes(roms.rom(*parts))
        (self.base / "vars").write_bytes(bytes(8192))
        guests_firmware.find = lambda: (str(self.base / "rom"), str(self.base / "vars"))  # type: ignore[assignment]

    def do(self, request: Any) -> Any:
        return HANDLERS[type(request)](Context(policy=self.policy, peer_uid=0), request)

    def open(self, request: Any) -> socket.socket:
        context = Context(policy=self.policy, peer_uid=0)
        guests.HANDLERS[type(request)](context, request)
        connection = socket.socket(fileno=context.answer_descriptors[0])
        connection.settimeout(SAFETY)
        return connection

    def start(self, *parts: bytes, **options: Any) -> GuestReading:
        self.rom(*parts)
        usual = {"name": NAME, "digest": "ab" * 8, "memory": 64 << 20, "screen": False, "agent": False}
        return self.do(StartGuest(guest=GuestSpec(**{**usual, **options})))  # type: ignore[no-any-return]

    def stop(self, timeout: int = 0, force: bool = True) -> None:
        self.do(StopGuest(guest=NAME, timeout=timeout, force=force))

    def reading(self) -> GuestReading:
        return self.do(ReadGuests())[0]  # type: ignore[no-any-return]

    def text(self) -> bytes:
        return base64.b64decode(self.do(ReadConsole(guest=NAME, offset=0))["data"])

    def until(self, true: Callable[[], Any]) -> None:
        end = time.monotonic() + SAFETY
        while not true():
            assert time.monotonic() < end, (self.reading(), self.text())
            time.sleep(0.1)

    def ended(self) -> GuestReading:
        self.until(lambda: self.reading().state not in state.LIVE and not state.guarded(self.folder))
        return self.reading()

    @property
    def folder(self) -> state.Folder:
        return state.Folder(str(self.policy.run), NAME)

    def guard(self) -> int:
        return int((state.read(self.folder) or {})["guard"])

    def record(self) -> dict[str, Any]:
        return state.read(self.folder) or {}

    def clean(self) -> None:
        with contextlib.suppress(Failure):
            self.stop()
        record = state.read(self.folder)
        shutil.rmtree(self.folder.path, ignore_errors=True) if record is None else None
        log = Path(self.folder.log)
        if log.exists() and "left behind" in log.read_text():
            print(log.read_text())


def output(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout


def refused(code: str, work: Callable[[], Any], words: str = "") -> None:
    try:
        work()
    except Failure as failure:
        found = failure
    else:
        raise AssertionError(f"it was not refused with {code}")
    assert (found.code, words in found.message) == (code, True), found


def nothing_left(lab: Lab) -> None:
    assert guests_start.vm(NAME) not in os.listdir("/dev/vmm") if os.path.exists("/dev/vmm") else True
    assert f"skep_g_{NAME}" not in output("jls", "name").split()
    assert str(lab.base) not in output("mount", "-p"), output("mount", "-p")
    number = os.listdir(lab.policy.run / "guests/.rulesets")[0]
    assert output("devfs", "rule", "-s", number, "show") == ""


def run_and_stop(lab: Lab) -> None:
    found = lab.start(roms.say(b"hello\r\n"), roms.echo(), disks=(DiskDevice(disk="d", slot=0),))
    assert (found.state, found.accelerator) == ("running", "vmm"), found
    lab.until(lambda: b"hello\r\n" in lab.text())
    jail = lab.record()["jail"]
    listed = output("ps", "-axo", "pid,jid,command")
    assert re.search(rf"^\s*{found.pid}\s+{jail} bhyve: skep.{NAME}", listed, re.MULTILINE), listed
    root = lab.record()["launch"]["jail"]["root"]
    assert sorted(os.listdir(f"{root}/dev")) == sorted(
        ["null", "random", "urandom", "vmm", "vmm.io", "zero", *(f"nmdmskep.{NAME}.{side}" for side in "AB")]
    ), os.listdir(f"{root}/dev")
    with lab.open(OpenConsole(guest=NAME)) as console:
        console.sendall(b"x")
        lab.until(lambda: b"<x>" in lab.text())
    assert b"hello\r\n<x>" in lab.text(), "nothing of the output came back as input"
    status = process.status(found.pid)
    assert status is not None
    assert (status.stopped, status.power_button) == (False, False)
    lab.stop()
    found = lab.ended()
    assert (found.state, found.ending) == ("stopped", "killed"), found
    nothing_left(lab)


def power_off(lab: Lab) -> None:
    lab.start(roms.say(b"bye"), roms.power_off())
    found = lab.ended()
    assert (found.state, found.ending, found.message) == ("stopped", "power-off", ""), found
    assert lab.text() == b"bye"
    nothing_left(lab)


def reboot(lab: Lab) -> None:
    media = (MediaDevice(image="cd", version="1", slot=1, until_reboot=True),)
    lab.start(roms.say(b"once "), roms.reset(), media=media)
    lab.until(lambda: lab.reading().reboots >= 2)
    found = lab.reading()
    assert (found.state, found.media_detached) == ("running", True), found
    lab.until(lambda: lab.text().count(b"once ") >= 2)
    lab.stop()
    nothing_left(lab)


def reset_by_hand(lab: Lab) -> None:
    lab.start(roms.say(b"up "), roms.sleep())
    lab.do(ResetGuest(guest=NAME))
    lab.until(lambda: lab.reading().reboots == 1 and lab.text() == b"up up ")
    lab.stop()


def power_button(lab: Lab) -> None:
    lab.start(roms.enable_acpi(), roms.until_power_button(), roms.say(b"pressed"), roms.power_off())
    lab.until(lambda: (process.status(lab.reading().pid) or (0, 0, 0))[2])
    lab.stop(timeout=60, force=False)
    found = lab.ended()
    assert (found.ending, lab.text()) == ("power-off", b"pressed"), found


def no_power_button(lab: Lab) -> None:
    lab.start(roms.sleep())
    refused("timeout", lambda: lab.stop(timeout=3, force=False))
    assert lab.reading().state == "running"
    lab.stop()


def pause(lab: Lab) -> None:
    lab.start(roms.echo())
    with lab.open(OpenConsole(guest=NAME)) as console:
        lab.do(PauseGuest(guest=NAME))
        assert lab.reading().state == "paused"
        console.sendall(b"x")
        time.sleep(2)
        assert lab.text() == b"", lab.text()
        lab.do(ResumeGuest(guest=NAME))
        lab.until(lambda: lab.text() == b"<x>")
    lab.stop()


def killed_guard(lab: Lab) -> None:
    lab.start(roms.say(b"up "), roms.echo())
    lab.until(lambda: lab.text() == b"up ")
    pid = lab.reading().pid
    os.kill(lab.guard(), signal.SIGKILL)
    lab.until(lambda: lab.reading().pid == pid and state.guarded(lab.folder))
    lab.open(OpenConsole(guest=NAME)).close()
    lab.do(ResetGuest(guest=NAME))
    lab.until(lambda: lab.text() == b"up up " and lab.reading().reboots == 1)
    lab.until(lambda: lab.record()["spread"])
    os.kill(lab.guard(), signal.SIGKILL)
    lab.until(lambda: lab.reading().pid and state.guarded(lab.folder))
    lab.open(OpenConsole(guest=NAME)).close()  # who answers has taken the guest up
    host.run(["bhyvectl", f"--vm=skep.{NAME}", "--force-poweroff"])
    found = lab.ended()
    assert found.ending == "power-off", (found, "learned by kqueue, for bhyve was not its child")
    nothing_left(lab)


def killed_bhyve(lab: Lab) -> None:
    lab.start(roms.sleep())
    os.kill(lab.reading().pid, signal.SIGKILL)
    found = lab.ended()
    assert (found.state, found.ending) == ("crashed", "killed"), found
    nothing_left(lab)
    assert lab.start(roms.sleep()).state == "running", "its VM is not busy"
    lab.stop()


def both_killed(lab: Lab) -> None:
    lab.start(roms.sleep())
    pid = lab.reading().pid
    os.kill(lab.guard(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    # One that is still about to end would be seen ending by the new guard.
    lab.until(lambda: process.status(pid) is None)
    found = lab.ended()
    assert (found.state, found.ending) == ("crashed", "unknown"), found
    nothing_left(lab)


def jail_removed(lab: Lab) -> None:
    lab.start(roms.sleep())
    host.run(["jail", "-r", f"skep_g_{NAME}"])
    found = lab.ended()
    assert (found.state, found.ending) == ("crashed", "killed"), found
    nothing_left(lab)


def started_by_hand(lab: Lab) -> None:
    rom = lab.base / "hand.rom"
    rom.write_bytes(roms.rom(roms.sleep()))
    argv = [
        "bhyve",
        "-c",
        "1",
        "-m",
        "64M",
        "-s",
        "0,hostbridge",
        "-s",
        "31,lpc",
        "-l",
        f"bootrom,{rom}",
        f"skep.{NAME}",
    ]
    other = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    time.sleep(5)
    assert process.title(other.pid) == f"bhyve: skep.{NAME}"
    refused("busy", lambda: lab.start(roms.sleep()), str(other.pid))
    assert other.poll() is None
    other.kill()
    other.wait()
    lab.start(roms.sleep())
    lab.stop()


def a_start_that_fails(lab: Lab) -> None:
    lab.rom(roms.sleep())
    spec = GuestSpec(name=NAME, digest="ab" * 8, memory=64 << 20, screen=False, agent=False)
    (lab.base / "vars").write_bytes(bytes(100))
    (lab.base / "pool/guests" / NAME / "uefi-vars.fd").unlink(missing_ok=True)
    refused("failed", lambda: lab.do(StartGuest(guest=spec)), "Invalid bootrom variable size 100")
    (lab.base / "pool/guests" / NAME / "uefi-vars.fd").unlink()
    nothing_left(lab)


def screen(lab: Lab) -> None:
    lab.start(roms.sleep(), screen=True)
    for _ in range(2):
        with lab.open(OpenScreen(guest=NAME)) as viewer:
            assert viewer.recv(12, socket.MSG_WAITALL) == b"RFB 003.008\n"
            viewer.sendall(b"RFB 003.008\n")
            assert viewer.recv(2, socket.MSG_WAITALL) == b"\x01\x01"
            viewer.sendall(b"\x01")
            assert viewer.recv(4, socket.MSG_WAITALL) == bytes(4)
            viewer.sendall(b"\x01")
            begun = viewer.recv(24, socket.MSG_WAITALL)
            assert begun[:4] == bytes([4, 0, 3, 0]), begun
            refused("busy", lambda: lab.open(OpenScreen(guest=NAME)))
        time.sleep(2)
    assert subprocess.run(["nc", "-z", "-w", "2", "127.0.0.1", "5900"], check=False, capture_output=True).returncode
    lab.stop()
    nothing_left(lab)


def agent_port(lab: Lab) -> None:
    lab.start(roms.sleep(), agent=True)
    lab.open(OpenAgent(guest=NAME)).close()
    answer = lab.do(Probe(kind="agent", guest=NAME, timeout=1))
    assert not answer.passed
    lab.do(ResetGuest(guest=NAME))
    lab.until(lambda: lab.reading().reboots == 1 and not lab.record()["again"] and lab.record()["spread"])
    lab.open(OpenAgent(guest=NAME)).close()
    lab.stop()
    nothing_left(lab)


def all_models(lab: Lab) -> None:
    disks = tuple(DiskDevice(disk=f"d{index}", slot=slot, model=model) for index, (slot, model) in enumerate(
        [(0, "virtio"), (1, "nvme"), (2, "ahci"), (19, "virtio"), (21, "ahci"), (43, "nvme")]
    ))  # fmt: skip
    for profile in ("freebsd", "openbsd", "linux", "windows"):
        home = lab.base / "pool/guests" / NAME
        (home / "seed.iso").write_bytes(bytes(1 << 20))
        found = lab.start(
            roms.sleep(), disks=disks, screen=True, agent=True, seed=True, profile=profile,
            media=(MediaDevice(image="cd", version="1", slot=5),), local_clock=profile == "windows",
        )  # fmt: skip
        assert found.state == "running", found
        lab.stop()


def features(lab: Lab) -> None:
    found = {item.name: item for item in guests.features(lab.policy)}
    assert found["vmm"].works, found
    assert found["nmdm"].works, found
    assert not found["swtpm"].works


def network(lab: Lab) -> None:
    """A tap goes to the guest's jail before every run, and to its network's jail once bhyve has it open."""
    port, net = f"{NAME}.lan", f"real{os.getpid()}-net"
    spec = NetworkSpec(name=net, digest="ab" * 8, kind="isolated")
    lab.do(ApplyNetwork(network=spec))
    try:
        made = PortSpec(
            name=port, network=net, digest="ab" * 8, rules_digest="ab" * 8, mac="58:9c:fc:00:00:01", guest=NAME
        )  # fmt: skip
        lab.do(ApplyPort(port=made))
        nics = (NicDevice(port=port, slot=0, mac="58:9c:fc:00:00:01"),)
        lab.start(roms.say(b"up "), roms.sleep(), nics=nics)
        jail = Records(lab.policy).network(net)
        tap = Records(lab.policy).port(port)
        assert jail is not None
        assert tap is not None

        def stands() -> bool:
            shown = output("jexec", str(jail.jid), "ifconfig", tap.interface)
            members = output("jexec", str(jail.jid), "ifconfig", "bridge0")
            return "Opened by PID" in shown and "<UP," in shown and f"member: {tap.interface} " in members

        assert stands(), output("jexec", str(jail.jid), "ifconfig", "-a")
        lab.do(ResetGuest(guest=NAME))
        lab.until(lambda: lab.text() == b"up up " and lab.record()["spread"])
        assert stands(), output("jexec", str(jail.jid), "ifconfig", "-a")
        lab.stop()
        nothing_left(lab)
        assert tap.interface in output("jexec", str(jail.jid), "ifconfig", "-l").split()
        lab.do(RemovePort(port=port, network=net))
    finally:
        lab.do(RemoveNetwork(network=net))


def looked_up_on_the_host(lab: Lab) -> None:
    """A line's device that was first looked up on the host is refused to a jail; one in use is named."""
    path = line.device(NAME, "A")
    assert os.path.exists(path), "the look makes it"
    lab.start(roms.sleep())
    lab.stop()
    lab.ended()
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    refused("failed", lambda: lab.start(roms.sleep()), f"fstat {path}")
    os.close(descriptor)
    lab.start(roms.sleep())
    lab.stop()


def lost_output(lab: Lab) -> None:
    """The line is open before the guest's first byte, and nothing of 4 KiB is lost."""
    text = b"".join(b"%04d" % number for number in range(1000))
    lab.start(roms.say(text), roms.power_off())
    lab.ended()
    assert lab.text() == text, len(lab.text())


TESTS: tuple[Callable[[Lab], None], ...] = (
    features, run_and_stop, power_off, reboot, reset_by_hand, power_button, no_power_button, pause, killed_guard,
    killed_bhyve, both_killed, jail_removed, started_by_hand, a_start_that_fails, screen, agent_port, all_models,
    lost_output, looked_up_on_the_host, network,
)  # fmt: skip


TEST_OF = {test.__name__: test for test in TESTS}


def carry_out(name: str) -> None:
    """One of the tests, in folders of its own; what it leaves behind is removed, and its guards' log is an error's."""
    base = Path(tempfile.mkdtemp(prefix="skep-real-", dir="/var/tmp"))
    base.chmod(0o755)
    real = guests_sources.storage, guests_firmware.find
    lab = Lab(base)
    try:
        guests.prepare(lab.policy)
        TEST_OF[name](lab)
    except Exception as error:
        log = Path(lab.folder.log)
        if log.exists():
            error.add_note(log.read_text())
        raise
    finally:
        lab.clean()
        spawning.stop()
        guests_sources.storage, guests_firmware.find = real
        shutil.rmtree(base, ignore_errors=True)


def main() -> int:
    failed = 0
    if stand_in_for_iasl():
        print("this host has no iasl: ACPI tables are empty")
    for name in sys.argv[1:] or TEST_OF:
        began = time.monotonic()
        try:
            carry_out(name)
            words = "ok"
        except Exception:
            words, failed = f"FAILED\n{traceback.format_exc()}", failed + 1
        print(f"{name}: {words} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
