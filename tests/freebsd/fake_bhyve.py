"""A stand-in for bhyve: reads its configuration, opens its files and its serial line, and ends as it is told.

Started as `fake_bhyve.py -k FILE`. The configuration names, besides what bhyve reads: fake.folder, where it finds its
plan (plan.json, one entry for each run) and leaves what it did. An entry:

    say, error      text for the serial line, for standard error
    acpi            whether the guest has enabled ACPI; without it SIGTERM ends it, as it does bhyve
    obeys           whether it powers off at the power button
    slow            seconds before it has made its devices
    exit, signal    how it ends; without either it runs until it is told to end (SIGUSR1: power off, SIGUSR2: reset)
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn


def read(path: str) -> dict[str, str]:
    with open(path) as stream:
        lines = [line.rstrip("\n") for line in stream if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class Fake:
    def __init__(self, settings: dict[str, str]) -> None:
        self.folder = Path(settings["fake.folder"])
        self.name = settings["name"]
        self.settings = settings
        plan: list[dict[str, Any]] = json.loads((self.folder / "plan.json").read_text())
        with open(self.folder / "runs", "a+") as runs:
            runs.write(f"{os.getpid()}\n")
            runs.seek(0)
            self.entry = plan[min(len(runs.readlines()), len(plan)) - 1]

    def run(self) -> NoReturn:
        if self.entry.get("error"):
            os.write(2, self.entry["error"].encode())
        files = [
            os.open(path, os.O_RDONLY)
            for key, path in self.settings.items()
            if key.endswith(".path") and "com1" not in key
        ]
        time.sleep(self.entry.get("slow", 0))
        line = os.open(self.settings["lpc.com1.path"], os.O_RDWR | os.O_NOCTTY)
        signal.signal(signal.SIGUSR1, lambda *_: self.end(1))
        signal.signal(signal.SIGUSR2, lambda *_: self.end(0))
        if self.entry.get("acpi"):
            signal.signal(signal.SIGTERM, lambda *_: self.button(line))
        if self.entry.get("exit") == 4:
            self.end(4)
        (self.folder / f"title.{os.getpid()}").write_text(f"bhyve: {self.name}")
        # The moment in which the guard moves the taps on.
        time.sleep(self.entry.get("alive", 0))
        os.write(line, self.entry.get("say", "").encode())
        if "signal" in self.entry:
            os.kill(os.getpid(), self.entry["signal"])
        if "exit" in self.entry:
            self.end(self.entry["exit"])
        assert files
        while True:
            data = os.read(line, 100)
            os.write(line, b"<" + data + b">")

    def button(self, line: int) -> None:
        os.write(line, b"PWRBTN")
        if self.entry.get("obeys"):
            self.end(1)

    def end(self, code: int) -> NoReturn:
        (self.folder / f"exit.{os.getpid()}").write_text(str(code))
        os._exit(code)


if __name__ == "__main__":
    Fake(read(sys.argv[2])).run()
