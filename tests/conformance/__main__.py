"""The suite on a bare Python 3.11, from the project's folder: `python3.11 -m tests.conformance [WORD...]`.

Only tests whose name holds one of the words are run. Ends with 1 when a test failed. What is tested: see
conformance_hosts. A test that fails, or is not over after LIMIT seconds, does not keep the others from running: where
it leaves the helper in no state to go on, another is started. What the helper and the guards logged meanwhile is shown.
"""

from __future__ import annotations

import importlib
import itertools
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parent.parent
sys.path[:0] = [str(_HERE), str(_HERE.parent), *(str(_ROOT / "packages" / name) for name in ("skep-helper", "skepd"))]

from conformance_hosts import SIM, Helper, connected, helper, hosts  # noqa: E402
from conformance_lab import Lacking, runs_on, variants_of  # noqa: E402

Test = tuple[str, Callable[..., None], dict[str, Any]]
LIMIT = 1200
"""Seconds for a test; most take a few, also on a slow machine."""
_SHOWN = 8000


class Late(Exception):
    """A test that is not over in time. (Not a TimeoutError: that is an OSError, which much is prepared for.)"""


def tests() -> Iterator[Test]:
    """Every test with the arguments of each of its variants, in the order of the files."""
    for path in sorted(_HERE.glob("test_*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            if name.startswith("test_"):
                known = variants_of(function)
                for values in itertools.product(*known.values()):
                    shown = f"{path.stem}.{name}" + (f"[{'-'.join(values)}]" if values else "")
                    yield shown, function, dict(zip(known, values, strict=True))


class Bench:
    """A host, and the helper by which it is reached."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._helper: Helper | None = None
        self._held = ExitStack()
        self._seen: Counter[Path] = Counter()

    def run(self, function: Callable[..., None], arguments: dict[str, Any]) -> None:
        if self._helper is None and self._name != SIM:
            self._helper = self._held.enter_context(helper())
        self._seen = Counter({path: path.stat().st_size for path in self._logs()})
        with _limited(LIMIT), connected(self._name, self._path) as host:
            function(host, **arguments)

    def shows(self) -> str:
        """What was logged since the test began."""
        parts = []
        for path in self._logs():
            text = path.read_bytes()[self._seen[path] :][-_SHOWN:].decode(errors="replace").strip()
            parts += [f"--- {path.name}:\n{text}"] if text else []
        return "\n".join(parts)

    def works(self) -> bool:
        """Whether the next test can be run; what the last one left is swept up."""
        try:
            with _limited(LIMIT), connected(self._name, self._path):
                return True
        except Exception:
            traceback.print_exc(file=sys.stdout)
            return False

    def restart(self) -> None:
        """The helper alone: what it has made is still known to it."""
        if self._helper is not None:
            self._helper.restart()

    def close(self) -> None:
        self._helper = None
        self._held.close()

    @property
    def _path(self) -> Path | None:
        return None if self._helper is None else self._helper.path

    def _logs(self) -> list[Path]:
        return [] if self._helper is None else self._helper.logs()


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise Late after so many seconds, and again after so many more: what is to clean up may hang as well."""

    def late(*_: object) -> None:
        raise Late(f"not over after {seconds} s")

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def carry_out(bench: Bench, function: Callable[..., None], arguments: dict[str, Any]) -> tuple[str, str]:
    """(passed, skipped or FAILED; why)."""
    try:
        bench.run(function, arguments)
    except Lacking as reason:
        return "skipped", str(reason)
    except Exception:
        why = "\n".join(filter(None, (traceback.format_exc().rstrip(), bench.shows())))
        return "FAILED", why + repaired(bench)
    return "passed", ""


def repaired(bench: Bench) -> str:
    """What had to be done that the next test can run."""
    if bench.works():
        return ""
    try:
        bench.restart()
    except Exception:
        return f"\nthe helper does not start again:\n{traceback.format_exc()}"
    return "\nthe helper was started anew" if bench.works() else "\nalso a new helper does not tidy up what was left"


def main(*words: str) -> int:
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        ended.append(number)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    chosen = [test for test in tests() if not words or any(word in test[0] for word in words)]
    outcomes: list[tuple[str, str, str]] = []
    for name in hosts():
        bench = Bench(name)
        try:
            for shown, function, arguments in chosen:
                if runs_on(function, name) and not ended:
                    print(f"{name}: {shown}", end=" ... ", flush=True)
                    began = time.monotonic()
                    outcome, why = carry_out(bench, function, arguments)
                    took = time.monotonic() - began
                    print(f"{outcome} ({took:.0f} s)", *filter(None, [why]), sep="\n", flush=True)
                    outcomes.append((f"{name}: {shown}", outcome, why))
        finally:
            tidy(bench, name, outcomes)
    return summary(outcomes)


def tidy(bench: Bench, name: str, outcomes: list[tuple[str, str, str]]) -> None:
    """What is left behind is a failure like any other."""
    try:
        bench.close()
    except Exception:
        traceback.print_exc(file=sys.stdout)
        outcomes.append((f"{name}: the end of its helper", "FAILED", ""))


def summary(outcomes: list[tuple[str, str, str]]) -> int:
    count = Counter(outcome for _, outcome, _ in outcomes)
    print(f"{len(outcomes)} tests on {', '.join(hosts())}: {count['FAILED']} failed, {count['skipped']} skipped")
    files = sorted({test.partition(".")[0] for test, _, _ in outcomes})
    for file in files:
        of_it = Counter(outcome for test, outcome, _ in outcomes if test.startswith(f"{file}."))
        print(f"  {file}:", ", ".join(f"{number} {outcome}" for outcome, number in sorted(of_it.items())))
    print(*(f"  failed: {test}\n" for test, outcome, _ in outcomes if outcome == "FAILED"), sep="", end="")
    print(*(f"  skipped: {test} ({why})\n" for test, outcome, why in outcomes if outcome == "skipped"), sep="", end="")
    return 1 if count["FAILED"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
