"""The guard's run loop around a stand-in for bhyve: reboots, ends, power button, killed guards."""

from __future__ import annotations

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bhyve_lab import Lab, StandIn
from skep_helper.guard import state
from skep_helper.guard.protocol import GuardError
from skep_helper.handlers import Failure


@pytest.fixture
def lab() -> Iterator[Lab]:
    with tempfile.TemporaryDirectory(prefix="skep-bhyve-") as folder:
        made = Lab(Path(folder))
        yield made
        made.close()


def test_a_guest_runs_and_is_ended(lab: Lab) -> None:
    answer = lab.start({"say": "up\r\n"})
    assert answer["state"]["state"] == "running"
    assert answer["state"]["pid"] == lab.runs()[0]
    lab.until(lambda: b"up\r\n" in lab.history())
    line = "/dev/nmdmskep.g1.B"
    assert lab.log() == ["destroy skep.g1", "jail skep_g_g1", f"free {line}", "gather 7", f"line {line}", "spread"]
    lab.ask("stop", timeout=0, force=True)
    record = lab.wait_end()
    assert (record["state"], record["ending"], record["pid"]) == ("stopped", "killed", 0)
    assert lab.log()[-3:] == ["force poweroff", "destroy skep.g1", "unjail skep_g_g1"]


@pytest.mark.parametrize(
    ("plan", "kind", "final"),
    [
        ({"exit": 1}, "power-off", "stopped"),
        ({"exit": 2}, "halt", "stopped"),
        ({"exit": 3}, "triple-fault", "crashed"),
        ({"exit": 1, "error": "vm_run error -1, errno 14\n"}, "error", "crashed"),
        ({"exit": 1, "error": "vm_run error -1, errno 6\n"}, "killed", "crashed"),
        ({"signal": signal.SIGKILL}, "killed", "crashed"),
        ({"signal": signal.SIGABRT, "error": "Assertion failed: (error == 0)\n"}, "error", "crashed"),
        ({"signal": signal.SIGTERM}, "killed", "crashed"),
    ],
)
def test_endings(lab: Lab, plan: dict[str, object], kind: str, final: str) -> None:
    lab.start({**plan, "alive": 0.3})
    record = lab.wait_end()
    assert (record["ending"], record["state"]) == (kind, final)
    assert lab.log()[-2:] == ["destroy skep.g1", "unjail skep_g_g1"], "what it held is given back"
    if plan.get("error"):
        assert kind != "error" or str(plan["error"]).strip() in record["message"]


def test_a_start_that_fails_says_why(lab: Lab) -> None:
    error = "Could not open backing file: /vm/nosuch.img: No such file or directory\n"
    with pytest.raises(GuardError, match=r"nosuch\.img"):
        lab.start({"exit": 4, "error": error})
    record = lab.wait_end()
    assert (record["ending"], record["state"]) == ("error", "crashed")
    assert lab.log()[-3:] == ["destroy skep.g1", "spread", "unjail skep_g_g1"], "its taps go back to their networks"


def test_a_jail_that_cannot_be_made(lab: Lab) -> None:
    (lab.folder / "fail-jail").touch()
    with pytest.raises(GuardError, match="jail does not work"):
        lab.start({})
    assert lab.runs() == []
    assert lab.wait_end()["ending"] == "error"


def test_a_guard_that_cannot_ask_who_runs_the_vm_leaves(lab: Lab) -> None:
    (lab.folder / "fail-ps").touch()
    with pytest.raises(GuardError, match="ps does not work"):
        lab.start({})
    record = lab.wait_end()
    assert (record["state"], record["ending"]) == ("crashed", "error")
    assert "cannot be found out" in record["message"]
    assert not (lab.folder / "log").exists(), "whose it is is not known: nothing was destroyed or made"


def test_a_guard_that_has_no_pipe_for_errors_leaves(lab: Lab) -> None:
    os.unlink(lab.runtime.errors)
    with pytest.raises(GuardError, match="No such file"):
        lab.start({})
    assert lab.wait_end()["ending"] == "error"
    assert lab.log()[-1] == "unjail skep_g_g1"


def test_a_process_that_cannot_be_followed_ends_a_start(lab: Lab) -> None:
    (lab.folder / "fail-watch").touch()
    with pytest.raises(GuardError, match="too many open files"):
        lab.start({})
    assert lab.wait_end()["ending"] == "error"
    assert lab.runs() == []


@pytest.mark.parametrize("what", ["fail-line", "fail-watch"])
def test_a_guard_that_cannot_take_over_leaves_the_guest_as_it_is(lab: Lab, what: str) -> None:
    lab.start({"say": "up"}, {"say": "again"})
    lab.until(lambda: b"up" in lab.history())
    lab.kill_guard()
    (lab.folder / what).touch()
    with pytest.raises(GuardError):
        lab.adopt()
    lab.until(lambda: not state.guarded(lab.runtime))
    assert (lab.record()["state"], lab.record()["pid"]) == ("running", lab.runs()[0])
    (lab.folder / what).unlink()
    assert lab.adopt()["state"]["pid"] == lab.runs()[0], "the next one does better"
    lab.ask("reset")
    lab.until(lambda: b"again" in lab.history())


def test_a_file_that_is_gone(lab: Lab) -> None:
    launch = lab.launch({})
    launch["state"]["launch"]["files"][1][0] = str(lab.folder / "none")
    with pytest.raises(GuardError, match="none"):
        lab.guard({"launch": launch})
    assert lab.runs() == []


def test_a_bhyve_that_somebody_started_by_hand_is_left_alone(lab: Lab) -> None:
    (lab.folder / "foreign").write_text("4711")
    with pytest.raises(GuardError, match="pid 4711") as refused:
        lab.start({})
    assert refused.value.code == "busy"
    assert not (lab.folder / "log").exists(), "nothing was destroyed or made"


def test_a_reboot_runs_it_again(lab: Lab) -> None:
    lab.start({"exit": 0, "say": "one ", "alive": 0.2}, {"exit": 0, "say": "two ", "alive": 0.2}, {"say": "three "})
    lab.until(lambda: b"three" in lab.history())
    assert lab.history() == b"one two three "
    lab.until(lambda: lab.log().count("spread") == 3)
    assert lab.log().count("gather 7") == 3, "taps come back before every run"
    assert lab.log().count("destroy skep.g1") == 1, "a reboot keeps the VM and its memory"
    lab.until(lambda: lab.record()["spread"])
    record = lab.record()
    assert (record["state"], record["reboots"], record["pid"]) == ("running", 2, lab.runs()[2])


def test_a_guest_that_resets_before_its_taps_have_moved(lab: Lab) -> None:
    lab.start({"exit": 0}, {"say": "later"})
    lab.until(lambda: b"later" in lab.history())
    assert lab.record()["reboots"] == 1


def test_installers_media_leave_at_the_first_reboot(lab: Lab) -> None:
    lab.start({"exit": 0, "alive": 0.2}, {"say": "installed"}, media=True)
    lab.until(lambda: b"installed" in lab.history())
    assert json.loads((lab.folder / "detached.json").read_text()) == ["cd:1"]
    record = lab.record()
    assert (record["media_detached"], record["media"], record["detached"]) == (True, {}, ["cd:1"])


def test_a_reset(lab: Lab) -> None:
    lab.start({"say": "one "}, {"say": "two "})
    lab.ask("reset")
    lab.until(lambda: b"two" in lab.history())
    assert lab.record()["reboots"] == 1


def test_a_reboot_that_does_not_come_up(lab: Lab) -> None:
    lab.start({"exit": 0, "alive": 0.2}, {"exit": 4, "error": "Unable to setup memory (12)\n"})
    record = lab.wait_end()
    assert (record["state"], record["ending"]) == ("crashed", "error")
    assert "Unable to setup memory (12)" in record["message"]


def test_a_network_that_is_gone_does_not_end_a_guest_at_its_reboot(lab: Lab) -> None:
    lab.start({"exit": 0, "alive": 0.5}, {"say": "on"})
    (lab.folder / "fail-spread").touch()
    lab.until(lambda: lab.record()["message"] == "spread does not work")
    (lab.folder / "fail-spread").unlink()
    before = lab.log().count("spread")
    lab.until(lambda: lab.log().count("spread") > before)
    assert lab.record()["state"] == "running"


def test_a_network_that_is_gone_ends_a_start(lab: Lab) -> None:
    (lab.folder / "fail-spread").touch()
    with pytest.raises(GuardError, match="spread does not work"):
        lab.start({})
    assert lab.wait_end()["ending"] == "error"


def test_the_power_button_once_the_guest_has_acpi(lab: Lab) -> None:
    lab.start({"acpi": True, "obeys": True})
    lab.ask("stop", timeout=60, force=False)
    record = lab.wait_end()
    assert (record["state"], record["ending"]) == ("stopped", "power-off")
    assert b"PWRBTN" in lab.history()
    assert "force poweroff" not in lab.log()


def test_no_power_button_before_the_guest_has_acpi(lab: Lab) -> None:
    """SIGTERM would kill bhyve like a power failure."""
    lab.start({})
    with pytest.raises(Failure, match="did not shut down") as refused:
        lab.ask("stop", timeout=1, force=False)
    assert refused.value.code == "timeout"
    record = lab.record()
    assert (record["state"], record["ending"]) == ("running", "")
    assert lab.runs() == [record["pid"]]
    lab.ask("stop", timeout=1, force=True)
    record = lab.wait_end()
    assert (record["ending"], record["message"]) == ("killed", "it did not shut down within 1 s")


def test_a_guest_that_ignores_its_button(lab: Lab) -> None:
    lab.start({"acpi": True})
    lab.ask("stop", timeout=1, force=True)
    assert lab.wait_end()["ending"] == "killed"
    assert lab.history().count(b"PWRBTN") > 1, "it is pressed again"


def test_a_bhyve_that_does_not_power_off_is_killed(lab: Lab) -> None:
    lab.start({})
    (lab.folder / "fail-force").touch()
    lab.ask("stop", timeout=0, force=True)
    record = lab.wait_end()
    assert (record["state"], record["ending"]) == ("stopped", "killed")


def test_pause_and_resume(lab: Lab) -> None:
    lab.start({})
    pid = lab.runs()[0]
    for operation, letter, found in (("pause", "T", "paused"), ("resume", "S", "running")):
        lab.ask(operation)
        lab.ask(operation)
        lab.until(lambda letter=letter: Path(f"/proc/{pid}/stat").read_text().split()[2] == letter)  # type: ignore[misc]
        assert lab.record()["state"] == found
    lab.ask("pause")
    lab.ask("stop", timeout=0, force=True)
    assert lab.wait_end()["ending"] == "killed"


def test_a_new_guard_takes_over(lab: Lab) -> None:
    lab.start({"say": "before "}, {"say": "again "})
    lab.until(lambda: b"before" in lab.history())
    lab.kill_guard()
    answer = lab.adopt()
    assert (answer["state"]["state"], answer["state"]["pid"]) == ("running", lab.runs()[0])
    lab.ask("reset")
    lab.until(lambda: b"again" in lab.history())
    assert len(lab.runs()) == 2, "it also runs it again"


@pytest.mark.parametrize(("plan", "kind"), [({"exit": 1, "alive": 1}, "power-off"), ({"exit": 2, "alive": 1}, "halt")])
def test_a_new_guard_learns_how_it_ended(lab: Lab, plan: dict[str, object], kind: str) -> None:
    lab.start(plan)
    lab.kill_guard()
    lab.adopt()
    assert lab.wait_end()["ending"] == kind


def test_an_end_that_nobody_saw(lab: Lab) -> None:
    lab.start({})
    lab.kill_guard()
    os.kill(lab.runs()[0], signal.SIGKILL)
    lab.until(lambda: not Path(f"/proc/{lab.runs()[0]}/fd").exists() or not os.listdir(f"/proc/{lab.runs()[0]}/fd"))
    lab.adopt()
    record = lab.wait_end()
    assert (record["ending"], record["state"]) == ("unknown", "crashed")
    assert lab.log()[-2:] == ["destroy skep.g1", "unjail skep_g_g1"]


def test_a_pid_that_is_another_process_now(lab: Lab) -> None:
    lab.start({})
    lab.kill_guard()
    record = lab.record()
    state.write(lab.runtime, {**record, "pid": os.getpid()})
    lab.adopt()
    assert lab.wait_end()["ending"] == "unknown"
    os.kill(record["pid"], signal.SIGKILL)


def test_a_guard_killed_between_reboot_and_next_run(lab: Lab) -> None:
    lab.start({"exit": 0, "alive": 0.2}, {"say": "again"})
    lab.until(lambda: lab.record()["again"] or len(lab.runs()) > 1)
    lab.kill_guard()
    if len(lab.runs()) == 1:
        lab.adopt()
        lab.until(lambda: b"again" in lab.history())
        assert lab.record()["reboots"] == 1


def test_a_guest_that_ended_after_its_reboot_is_not_run_again(lab: Lab) -> None:
    """Also when its guard was killed before bhyve had made its devices (seen on 13.2: it was powered off, and ran)."""
    lab.start({"exit": 0, "alive": 0.2}, {"slow": 600}, {"say": "again"})
    lab.until(lambda: len(lab.runs()) == 2 and not lab.record()["again"])
    lab.kill_guard()
    os.kill(lab.runs()[1], signal.SIGKILL)
    lab.until(lambda: StandIn(lab.folder, -1).status(lab.runs()[1]) is None)
    lab.adopt()
    assert lab.wait_end()["ending"] == "unknown"
    assert len(lab.runs()) == 2


def test_what_bhyve_cannot(lab: Lab) -> None:
    lab.start({})
    for operation, arguments in (
        ("snapshot", {"snapshot": "s", "quiesce": False}),
        ("remove-snapshot", {"snapshot": "s"}),
    ):
        with pytest.raises(Failure) as refused:
            lab.ask(operation, **arguments)
        assert refused.value.code == "unsupported"
    with pytest.raises(Failure) as refused:
        lab.ask("screen")
    assert refused.value.code == "missing"
    lab.ask("grow", disk="disk", size=1)
    with pytest.raises(Failure) as refused:
        lab.ask("grow", disk="other", size=1)
    assert refused.value.code == "missing"


def test_typing_reaches_the_guest_also_after_a_reboot(lab: Lab) -> None:
    from skep_helper.guard import client

    lab.start({"say": "one "}, {"say": "two "})
    _, descriptor = client.ask_descriptor(lab.policy, "g1", {"op": "console", "writer": True, "take": False})
    os.write(descriptor, b"x")
    lab.until(lambda: b"<x>" in lab.history())
    lab.ask("reset")
    lab.until(lambda: b"two" in lab.history())
    os.write(descriptor, b"y")
    lab.until(lambda: b"<y>" in lab.history())
    os.close(descriptor)
