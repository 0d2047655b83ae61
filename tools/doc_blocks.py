"""Shell blocks of a page: which may run, which may not and why. `python3 tools/doc_blocks.py PAGE [--run]`.

A block begins with ```sh. The line above it says what becomes of it:

    <!-- run -->                it runs, in order, in one folder; a block that fails ends the run
    <!-- skip: REASON -->       it does not run, and the reason is printed

Every block must have one of these. Standard library only, so that it runs on a bare host.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\S*)\s*$")
_MARK = re.compile(r"^<!-- (?:(run)|skip: (.+?)) -->$")


@dataclass(frozen=True)
class Block:
    """line: where it begins. reason: why it does not run; empty when it does."""

    line: int
    text: str
    reason: str = ""


def blocks(page: str) -> list[Block]:
    """Raises ValueError for a block without a mark, a mark without a block, a block that does not end."""
    found: list[Block] = []
    mark: tuple[int, str] | None = None
    inside: list[str] | None = None
    language, begin = "", 0
    for number, line in enumerate(page.splitlines(), 1):
        fence = _FENCE.match(line)
        if inside is not None:
            if fence:
                if language == "sh":
                    found.append(_block(begin, inside, mark))
                    mark = None
                inside = None
            else:
                inside.append(line)
        elif fence:
            language, begin, inside = fence[1], number, []
        elif match := _MARK.match(line):
            mark = number, match[2] or ""
        elif line.strip() and mark is not None:
            raise ValueError(f"line {mark[0]}: no block follows this mark")
    if inside is not None:
        raise ValueError(f"line {begin}: this block does not end")
    return found


def _block(line: int, inside: list[str], mark: tuple[int, str] | None) -> Block:
    if mark is None:
        raise ValueError(f"line {line}: say above this block <!-- run --> or <!-- skip: REASON -->")
    return Block(line, "\n".join(inside) + "\n", mark[1])


def run(found: list[Block], folder: Path) -> int:
    """Run them in order; returns the exit code of the first that fails."""
    for block in found:
        if block.reason:
            print(f"line {block.line}: skipped ({block.reason})")
            continue
        done = subprocess.run(["/bin/sh", "-eux"], input=block.text, text=True, cwd=folder, check=False)
        print(f"line {block.line}: {'done' if done.returncode == 0 else f'failed with {done.returncode}'}", flush=True)
        if done.returncode:
            return done.returncode
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Shell blocks of a page.")
    parser.add_argument("page", type=Path)
    parser.add_argument("--run", action="store_true", help="run those that may be run; as root, on a host to try it on")
    options = parser.parse_args()
    try:
        found = blocks(options.page.read_text())
    except ValueError as error:
        print(f"{options.page}: {error}", file=sys.stderr)
        return 65
    if options.run:
        with tempfile.TemporaryDirectory() as folder:
            return run(found, Path(folder))
    for block in found:
        print(f"line {block.line}: {block.reason or 'run'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
