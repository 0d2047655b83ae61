"""The line index finds every key that tomllib finds, where it stands."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from skepd.model import lines, toml

KEYS = st.text(st.sampled_from("ab-_.é\"' #=[]\\\n"), min_size=1, max_size=4)
STRINGS = st.text(st.sampled_from("ab\"'\\\n\r\t\x01 #=[]{},é"), max_size=8)
SCALARS = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.lists(st.dictionaries(KEYS, inner, max_size=3), min_size=1, max_size=3),
    ),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(DOCUMENTS)
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    text = toml.dumps(document)
    assert tomllib.loads(text) == document
    assert list(tomllib.loads(text)) == [*_without_headers(document), *_with_headers(document)]


def _with_headers(table: dict[str, Any]) -> list[str]:
    return [key for key, value in table.items() if _has_header(value)]


def _without_headers(table: dict[str, Any]) -> list[str]:
    return [key for key, value in table.items() if not _has_header(value)]


def _has_header(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)
    )


def paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, item in items:
        found += paths(item, (*path, str(key)))
    return found


@given(DOCUMENTS)
def test_every_path_is_indexed_and_nothing_else(document: dict[str, Any]) -> None:
    index = lines.index(toml.dumps(document))
    assert set(index.lines) == set(paths(document))
    assert index.twice == []


# Documents in the notations that the writer does not use; every value names its line.
ENTRY = st.sampled_from(
    [
        "k{n} = {line}",
        "'k {n}'.\"x\\u0041\" = {line}",
        "d{n}.e . f = {line}",
        "t{n} = {{ a = {line}, 'b c' = [ {line} ] }}",
        'm{n} = [ # comment ]\n  {line1},\n\n  [{line3}, {{ z = {line3} }}], # "\n]',
        's{n} = """\nnot = 1 \\" \'\'\' [x]\n""""\nk{n}.after = {line3}',
        "l{n} = '''[y]\n\"\"\" = 2\n'''\nk{n}.after = {line3}",
        'c{n} = "# no comment" # but this = 5\nk{n}.after = {line1}',
        "[h{n}]\na = {line1}",
        "[[r]]\nb = {line1}\n[r.sub]\nc = {line3}\n[[r.sub.list]]\nd = {line5}",
        "[ q . 'w {n}' ] # = \n\n a = {line2}",
        "# [no]",
        "",
    ]
)


@settings(max_examples=200)
@given(st.lists(ENTRY, max_size=12), st.sampled_from(["\n", "\r\n"]))
def test_lines_are_right_in_every_notation(entries: list[str], newline: str) -> None:
    out: list[str] = []
    for number, entry in enumerate(entries):
        line = 1 + sum(part.count("\n") + 1 for part in out)
        names = {f"line{ahead}": line + ahead for ahead in range(8)}
        out.append(entry.format(n=number, line=line, **names))
    text = newline.join("\n".join(out).split("\n"))
    document = tomllib.loads(text)
    index = lines.index(text)
    assert set(paths(document)) == set(index.lines)
    for path in paths(document):
        value = document
        for key in path:
            value = value[int(key)] if isinstance(value, list) else value[key]
        if isinstance(value, int):
            assert index.line(path) == value, (path, text)


@given(st.text(st.sampled_from("ab=.[]{}\"'\\\n#, 1"), max_size=40))
def test_any_text_is_survived(text: str) -> None:
    index = lines.index(text)
    assert all(1 <= line <= text.count("\n") + 1 for line in index.lines.values())


def test_what_stands_twice_is_found_with_both_lines() -> None:
    index = lines.index("[a.b]\nx = 1\n[c]\n[a.b]\nx = 2\n")
    assert (("a", "b"), 1, 4) in index.twice


def test_a_table_may_follow_a_table_inside_it() -> None:
    assert lines.index("[a.b]\n[a]\nx = 1\n").twice == []


def test_the_nearest_line_around_is_given() -> None:
    index = lines.index("[a]\n\n[a.b]\nc = 1\n")
    assert [index.line(path) for path in [("a", "b", "c", "0"), ("a", "b", "x"), ("a", "x"), ("z",), ()]] == [
        4,
        3,
        1,
        0,
        0,
    ]
