"""Damaged site files give a Site or DefinitionErrors with a line of the file, never anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skepd.model.definitions import object_from_data, parse_object
from skepd.model.errors import DefinitionError
from skepd.model.names import Kind
from skepd.model.site_reader import parse_site
from skepd.model.site_writer import render_site

ROOT = Path(__file__).parents[2]
TEXTS = [(ROOT / "examples" / name / "site.toml").read_text() for name in ("laptop", "branch-office")]
WORDS = [
    "true", "0", "-1", "4095", '""', '"\\u0000"', "[]", "{}", "[[1]]", "1e400", "nan", "2024-01-01", '"none"', '"lan"',
    '"10.78.0.1"', '"10.0.0.0/8"', '"::/0"', '"fd00::1%eth0"', '"*"', "{ kind = 1 }", '"9999999999999T"', '"1.5T"',
    "1" * 5000,
    '"' + "x" * 300 + '"', "[" * 2000 + "]" * 2000,
]  # fmt: skip


@st.composite
def mutations(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["drop", "double", "move", "value", "swap", "cut", "insert", "other"]))
        line = lines[number]
        if kind == "drop":
            del lines[number]
        elif kind == "double":
            lines.insert(number, line)
        elif kind == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(number))
        elif kind == "value" and "=" in line:
            lines[number] = line.split("=")[0] + "= " + draw(st.sampled_from(WORDS))
        elif kind == "swap":
            other = draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], lines[number]
        elif kind == "cut" and line:
            lines[number] = line[: draw(st.integers(0, len(line) - 1))]
        elif kind == "insert":
            at = draw(st.integers(0, len(line)))
            lines[number] = line[:at] + draw(st.sampled_from("\"'[]{}=.,#\\\x00é9 x\ud800")) + line[at:]
        elif kind == "other":
            lines[number] = draw(st.sampled_from(lines))
    return "\n".join(lines) + "\n"


@settings(max_examples=600, deadline=None)
@given(mutations())
@example('[host]\nname = "h"\nx = ' + "[" * 5000 + "]" * 5000)
@example("x = " + "9" * 10_000)
@example("")
def test_damaged_files_are_understood_or_refused(text: str) -> None:
    try:
        site = parse_site(text, "site.toml")
    except DefinitionError as error:
        for one in error.errors:
            assert one.file == "site.toml"
            assert one.problem
            assert one.hint
            assert 0 <= one.line <= text.count("\n") + 1
            assert one.line or "too long" in one.problem or "not TOML" in one.problem
        return
    again = parse_site(render_site(site.desired, site.host_part), "again")
    assert (again.desired, again.host_part) == (site.desired, site.host_part)


KEYS = st.sampled_from(["name", "network", "disk", "nic", "subnet", "rules", "leg", "route", "boot", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Kind), st.dictionaries(KEYS, JSON, max_size=5))
def test_requests_of_any_shape_are_understood_or_refused(kind: Kind, data: dict[str, object]) -> None:
    try:
        object_from_data(kind, data)
    except DefinitionError as caught:
        error = caught
    else:
        return
    assert all(one.problem and not one.file for one in error.errors)


@given(st.sampled_from(Kind), st.text(max_size=30))
def test_texts_of_any_shape_are_refused(kind: Kind, text: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_object(kind, text, "f")
    assert caught.value.file == "f"
