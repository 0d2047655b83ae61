"""A guest with a TPM: a real swtpm beside a real QEMU, what it may do, what becomes of its state."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from guests_lab import Lab, expect, lab
from skep_helper.guard import client
from skep_helper.handlers import Context, Failure
from skep_helper.linux import storage
from skep_helper.linux.qemu import tpm
from skep_helper.vocabulary import CreateGuestFolder, RollBackGuest, SnapshotGuest
from skep_helper.vocabulary.guest import ResetGuest, StopGuest

pytestmark = [pytest.mark.real, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
TCG2 = "607F766C-7455-42BE-930B-E4D76DB2720F"
"""EFI_TCG2_PROTOCOL of the TCG's EFI protocol specification: the firmware has it when it found a TPM 2.0."""
READ_CLOCK = bytes.fromhex("80010000000a00000181")


@pytest.fixture(scope="module")
def site() -> Iterator[Lab]:
    with lab() as made:
        yield made


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}") and " Z " not in Path(f"/proc/{pid}/stat").read_text()


def resets(site: Lab, guest: str) -> int:
    """How often this TPM was reset in its life, by itself (TPM2_ReadClock), asked on a copy of its state."""
    copy = site.policy.pool.parent / "copy.state"
    shutil.copy(site.policy.pool / f"guests/{guest}/tpm.state", copy)
    path = f"{copy}.sock"
    asked = subprocess.Popen(
        [tpm.SWTPM, "socket", "--tpm2", "--server", f"type=unixio,path={path}", "--flags",
         "not-need-init,startup-clear", "--tpmstate", f"backend-uri=file://{copy}", "--terminate"],
    )  # fmt: skip
    try:
        site.until(lambda: os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(READ_CLOCK)
            answer = connection.recv(4096)
        assert answer[6:10] == bytes(4), answer
        return int.from_bytes(answer[26:30], "big")
    finally:
        asked.kill()
        asked.wait()
        Path(path).unlink(missing_ok=True)


def boot(site: Lab, guest: str) -> socket.socket:
    """Start it and wait until its firmware has the TPM."""
    site.start(guest, tpm=True)
    console = site.shell(guest)
    console.sendall(f"dh -p {TCG2}\r".encode())
    # Not the heading, which has it in quotes, but a handle: "44: Tcg2", coloured.
    expect(console, b"Tcg2\x1b[0m")
    return console


def stop(site: Lab, guest: str) -> None:
    site.do(StopGuest(guest=guest, timeout=0))


def test_the_guest_finds_its_tpm_and_keeps_it(site: Lab) -> None:
    with boot(site, "keeps") as console:
        found = client.ask(site.policy, "keeps", {"op": "execute", "command": "query-tpm"})["return"]
        assert [one["model"] for one in found] == ["tpm-crb"]
        pid = site.record("keeps")["tpm"]["pid"]
        site.do(ResetGuest(guest="keeps"))
        expect(console, b"Press")
        assert site.record("keeps")["tpm"]["pid"] == pid
    stop(site, "keeps")
    assert not alive(pid)
    first = resets(site, "keeps")
    boot(site, "keeps").close()
    assert site.record("keeps")["tpm"]["pid"] != pid
    stop(site, "keeps")
    assert resets(site, "keeps") > first


def test_swtpm_has_no_power(site: Lab) -> None:
    site.start("weak", tpm=True)
    record = site.record("weak")
    pid = record["tpm"]["pid"]
    site.until(lambda: os.readlink(f"/proc/{pid}/exe") == tpm.SWTPM)
    site.until(lambda: "Seccomp:\t2" in Path(f"/proc/{pid}/status").read_text())
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = {key: value.split() for key, value in (line.split(":", 1) for line in lines)}
    assert set(status["Uid"]) == set(status["Gid"]) == {str(record["uid"])}
    assert status["Groups"] == []
    assert {int(status[f"Cap{kind}"][0], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == ["1"]
    for kind in ("net", "ipc"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
    files = {os.readlink(item.path) for item in os.scandir(f"/proc/{pid}/fd")}
    home, run = f"{site.policy.pool}/guests/weak", f"{site.policy.run}/guests/weak"
    assert {file for file in files if file.startswith("/")} == {"/dev/null", f"{home}/tpm.state", f"{run}/errors"}
    state = os.stat(f"{home}/tpm.state")
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (0, record["uid"], 0o660)
    stop(site, "weak")


def test_a_killed_guard_is_followed_by_one_that_knows_the_tpm(site: Lab) -> None:
    site.start("guarded", tpm=True)
    pid = site.record("guarded")["tpm"]["pid"]
    site.kill_guard("guarded")
    assert site.reading("guarded").state == "running"
    assert alive(pid)
    stop(site, "guarded")
    assert not alive(pid)
    assert site.reading("guarded").state == "stopped"


def test_a_killed_qemu_takes_its_tpm_along(site: Lab) -> None:
    site.start("killed", tpm=True)
    pid = site.record("killed")["tpm"]["pid"]
    os.kill(site.reading("killed").pid, signal.SIGKILL)
    site.until(lambda: site.reading("killed").state == "crashed")
    assert not alive(pid)
    assert "TPM" not in site.reading("killed").message
    site.start("killed", tpm=True)
    stop(site, "killed")


def test_a_tpm_that_dies_is_told(site: Lab) -> None:
    site.start("bereft", tpm=True)
    os.kill(site.record("bereft")["tpm"]["pid"], signal.SIGKILL)
    site.until(lambda: "its TPM has ended" in site.reading("bereft").message)
    assert site.reading("bereft").state == "running"
    stop(site, "bereft")


def test_snapshots_and_rollbacks_have_the_tpm_in_them(site: Lab) -> None:
    context = Context(policy=site.policy, peer_uid=0)

    def do(request: object) -> None:
        storage.HANDLERS[type(request)](context, request)

    do(CreateGuestFolder(guest="snapped"))
    do(SnapshotGuest(guest="snapped", snapshot="before"))
    boot(site, "snapped").close()
    stop(site, "snapped")
    then = resets(site, "snapped")
    do(SnapshotGuest(guest="snapped", snapshot="then"))
    for _ in range(2):
        boot(site, "snapped").close()
        stop(site, "snapped")
    assert resets(site, "snapped") > then
    do(RollBackGuest(guest="snapped", snapshot="then"))
    assert resets(site, "snapped") == then
    boot(site, "snapped").close()
    stop(site, "snapped")
    do(RollBackGuest(guest="snapped", snapshot="before"))
    assert not (site.policy.pool / "guests/snapped/tpm.state").exists()


def test_without_swtpm_such_a_guest_is_refused(site: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tpm, "SWTPM", "/usr/bin/no-swtpm")
    with pytest.raises(Failure, match=r"no TPM here: .*apt install swtpm"):
        site.start("none", tpm=True)
