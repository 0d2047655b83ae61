"""The recorded sessions as blocks: a command line, what it wrote, its exit status."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent / "transcripts"


@dataclass
class Block:
    """exit: None when it was still running. background: its end stands here, its output as it came."""

    command: str
    stdout: str = ""
    stderr: str = ""
    exit: int | None = None
    background: bool = field(default=False)

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def blocks(name: str) -> list[Block]:
    """All commands of a transcript of the form `--- stdout`, `--- stderr`, `--- exit N`."""
    found: list[Block] = []
    current, background, stream = Block(""), Block(""), ""
    for line in (FOLDER / name).read_text().splitlines(keepends=True):
        if line.startswith("$ "):
            current, stream = Block(line[2:].strip()), ""
            found.append(current)
            if current.command.endswith("&"):
                background = current
                current.background = True
        elif line.startswith("# the bhyve in the background ended"):
            current, stream = background, ""
        elif match := re.match(r"--- (stdout|stderr)$", line):
            stream = match[1]
        elif match := re.match(r"--- exit (\d+)", line):
            current.exit, stream = int(match[1]), ""
        elif line.startswith(("--- ", "# ")):
            stream = ""
        elif stream:
            setattr(current, stream, getattr(current, stream) + line)
    return found


def commands(name: str) -> set[str]:
    """All single commands of a transcript of any form, also those that are joined by semicolons."""
    lines = re.findall(r"^\$ (.*)$", (FOLDER / name).read_text(), re.MULTILINE)
    return {part.strip() for line in lines for part in line.rstrip("& ").split(";")}
