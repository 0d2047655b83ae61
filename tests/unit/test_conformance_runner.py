"""The conformance suite as a bare Python runs it: what fails or hangs is told, and the rest runs on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from skepd.host import Host

from tests.conformance import __main__ as runner
from tests.conformance.__main__ import SIM, Bench, Lacking, carry_out


def fails(host: Host) -> None:
    raise AssertionError("two is not three")


def lacks(host: Host) -> None:
    raise Lacking("there is no bhyve")


def hangs(host: Host) -> None:
    signal.pause()


def passes(host: Host) -> None:
    assert host.hello().platform


@pytest.mark.parametrize(
    ("function", "outcome", "word"),
    [
        (passes, "passed", ""),
        (lacks, "skipped", "there is no bhyve"),
        (fails, "FAILED", "two is not three"),
        (hangs, "FAILED", "not over after"),
    ],
)
def test_each_end_of_a_test_is_told(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., None], outcome: str, word: str
) -> None:
    monkeypatch.setattr(runner, "LIMIT", 0.5 if function is hangs else 60)
    bench = Bench(SIM)
    told, why = carry_out(bench, function, {})
    assert (told, word in why) == (outcome, True), why
    assert carry_out(bench, passes, {}) == ("passed", "")


def test_the_summary_counts_by_file_and_is_a_failure_when_nothing_passed(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [
        ("sim: test_a.one", "passed", ""),
        ("sim: test_a.two", "skipped", "no tap"),
        ("sim: test_b.x", "FAILED", ""),
    ]
    assert runner.summary(outcomes) == 1
    shown = capsys.readouterr().out
    assert "sim: test_a: 1 passed, 1 skipped" in shown
    assert "failed: sim: test_b.x" in shown
    assert "skipped: sim: test_a.two (no tap)" in shown
    assert runner.summary(outcomes[:2]) == 0
    assert runner.summary(outcomes[1:2]) == 1


def test_a_helper_that_a_test_leaves_broken_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(SIM)
    healthy: list[str] = []
    monkeypatch.setattr(Bench, "works", lambda self: bool(healthy))
    monkeypatch.setattr(Bench, "restart", lambda self: healthy.append("again"))
    told, why = carry_out(bench, fails, {})
    assert (told, "the helper was started anew" in why) == ("FAILED", True), why
    assert healthy == ["again"]
