"""Shell blocks of docs/freebsd.md: each is marked, and the tool that runs them does what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "tools"))
from doc_blocks import Block, blocks, run  # noqa: E402

PAGE = ROOT / "docs/freebsd.md"


def test_every_block_of_the_page_is_marked_and_is_sh() -> None:
    found = blocks(PAGE.read_text())
    assert len(found) > 10
    assert any(not block.reason for block in found)
    for block in found:
        done = subprocess.run(["sh", "-n"], input=block.text, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), block


def test_blocks_and_their_marks() -> None:
    page = "a\n<!-- run -->\n```sh\ntrue\n```\n```text\nx\n```\n<!-- skip: no disk -->\n\n```sh\nfalse\n```\n"
    assert blocks(page) == [Block(3, "true\n"), Block(11, "false\n", "no disk")]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("```sh\ntrue\n```\n", "line 1: say above"),
        ("<!-- run -->\ntext\n", "line 1: no block"),
        ("<!-- run -->\n```sh\n", "line 2: .*does not end"),
    ],
)
def test_a_page_that_is_wrong(page: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        blocks(page)


def test_blocks_run_in_order_in_one_folder(tmp_path: Path) -> None:
    first, skipped, second = Block(1, "echo a > f\n"), Block(2, "exit 9\n", "no"), Block(3, "grep a f\n")
    assert run([first, skipped, second], tmp_path) == 0
    assert run([Block(1, "false\ntouch later\n"), Block(2, "touch later\n")], tmp_path) == 1
    assert not (tmp_path / "later").exists()
