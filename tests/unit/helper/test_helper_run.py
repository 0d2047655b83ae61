"""The one door for processes: status and output, deadlines, and work that is called off."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from skep_helper import run
from skep_helper.handlers import Failure

FOREVER = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(3600)"]


def test_how_a_process_ended() -> None:
    program = "import sys; sys.stdout.write(sys.stdin.read()[::-1]); sys.stderr.write('no'); sys.exit(3)"
    done = run.attempt([sys.executable, "-c", program], b"abc")
    assert (done.status, done.output, done.errors) == (3, b"cba", b"no")
    with pytest.raises(Failure, match=r"no \(exit 3\)"):
        run.run([sys.executable, "-c", program], b"abc")


def test_more_output_than_a_pipe_holds_while_it_is_followed() -> None:
    told: list[int] = []
    program = "import time; print('x' * 1000000); time.sleep(0.6)"
    done = run.attempt([sys.executable, "-c", program], tick=lambda: told.append(1))
    assert len(done.output) == 1_000_001
    assert told


@pytest.mark.parametrize("followed", [True, False])
def test_one_that_does_not_end(followed: bool) -> None:
    with pytest.raises(Failure, match="did not end within") as caught:
        run.attempt(FOREVER, timeout=0.5, tick=(lambda: None) if followed else None)
    assert caught.value.code == "timeout"


def test_called_off(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = f"import os, time; open({str(file)!r}, 'w').write(str(os.getpid())); time.sleep(3600)"

    def cancel() -> None:
        if file.exists() and file.read_text():
            raise Failure("cancelled", "cancelled")

    with pytest.raises(Failure, match="cancelled"):
        run.attempt([sys.executable, "-c", program], tick=cancel)
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_one_that_is_not_installed() -> None:
    with pytest.raises(Failure, match="not installed") as caught:
        run.attempt(["skep-no-such-tool"])
    assert caught.value.code == "unsupported"
