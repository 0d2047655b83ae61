"""The serial history: offsets that stay true, segments that go."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from skep_helper.guard.history import History


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    first = History(str(tmp_path))
    first.append(b"one ")
    first.close()
    second = History(str(tmp_path))
    second.append(b"two")
    assert second.read(0, 100) == (0, b"one two")
    assert (second.start, second.end) == (0, 7)
    second.close()


def test_an_offset_that_is_gone_gives_the_next_one_kept(tmp_path: Path) -> None:
    history = History(str(tmp_path), segment=4, segments=2)
    for item in (b"0123", b"4567", b"89ab", b"cd"):
        history.append(item)
    assert (history.start, history.end) == (8, 14)
    assert history.read(0, 100) == (8, b"89abcd")
    assert history.read(10, 3) == (10, b"abc")
    assert history.read(99, 3) == (14, b"")
    assert len(os.listdir(tmp_path)) == 2
    history.close()


def test_a_reader_sees_nobody_elses_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    history = History(str(tmp_path))
    assert (history.start, history.end, history.read(0, 10)) == (0, 0, (0, b""))


@given(st.lists(st.binary(min_size=1, max_size=30)), st.integers(0, 300), st.integers(0, 64))
def test_reads_the_end_of_what_was_written(
    tmp_path_factory: object, chunks: list[bytes], offset: int, length: int
) -> None:
    folder = tmp_path_factory.mktemp("history")  # type: ignore[attr-defined]
    history = History(str(folder), segment=16, segments=3)
    for chunk in chunks:
        history.append(chunk)
    written = b"".join(chunks)
    at, data = history.read(offset, length)
    assert at == min(max(offset, history.start), len(written))
    assert data == written[at : at + length]
    history.close()
    again = History(str(folder), segment=16, segments=3)
    assert (again.start, again.end) == (history.start, len(written))
