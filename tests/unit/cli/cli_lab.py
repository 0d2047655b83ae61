"""Runs `skep` as users do: as a process, against the API on a unix socket, and in a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import termios
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "api"))
from running_api import Running

SKEP = [sys.executable, "-m", "skep.cli.main"]


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@dataclass
class Cli:
    api: Running
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("SKEP_", "XDG_"))}
        return {
            **clean,
            "HOME": str(self.home),
            "SKEP_URL": f"unix:{self.api.socket}",
            "TERM": "xterm",
            "COLUMNS": "100",
        }

    def __call__(self, *words: str, stdin: str = "", **environment: str) -> Done:
        done = subprocess.run(
            [*SKEP, *words],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            env={**self.environment, **environment},
            timeout=120,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def terminal(self, *words: str) -> Terminal:
        return Terminal([*SKEP, *words], self.environment)


class Terminal:
    """A command in a pseudo-terminal."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self._master, self._slave = pty.openpty()
        self.before = termios.tcgetattr(self._slave)
        self.text = ""
        self.process = subprocess.Popen(
            argv, stdin=self._slave, stdout=self._slave, stderr=self._slave, env=environment, start_new_session=True,
            preexec_fn=self._own,
        )  # fmt: skip

    def _own(self) -> None:
        import fcntl
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests in the background had it ignored
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self._master)
        os.close(self._slave)

    def expect(self, wanted: str) -> None:
        """Wait until this text has come since the last one that was expected."""
        deadline = time.monotonic() + 60
        while wanted not in self.text:
            ready, _, _ = select.select([self._master], [], [], max(deadline - time.monotonic(), 0))
            assert ready, f"{wanted!r} did not come: {self.text!r}"
            self.text += os.read(self._master, 4096).decode(errors="replace")
        self.text = self.text.split(wanted, 1)[1]

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def end(self) -> int:
        return self.process.wait(60)

    @property
    def attributes(self) -> list[object]:
        return termios.tcgetattr(self._slave)
