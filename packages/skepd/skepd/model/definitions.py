"""Definitions of single objects as text (guest.toml and its like) and as plain data (the API's JSON)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from . import lines, toml
from .desired import KIND_OF
from .errors import DefinitionError
from .names import Kind
from .objects import Object
from .schema import Place, Source, read_section, write_section
from .sections import DEFINITIONS

TEXT_LIMIT = 16 << 20
"""Characters of the longest text that is looked at."""


def parse_object(kind: Kind, text: str, file: str) -> Object:
    """One definition; raises DefinitionError(s) that name file and line."""
    table, source = load(text, file)
    return object_from_data(kind, table, source)


def render_object(value: Object) -> str:
    """The text of a definition: stable order, only what is not at its default. parse_object is its inverse."""
    return toml.dumps(object_to_data(value))


def object_from_data(kind: Kind, data: Mapping[str, Any], source: Source | None = None) -> Object:
    """An object from plain data (tables, lists, texts, numbers, truth values); raises DefinitionError(s) with paths."""
    value: Object = read_section(DEFINITIONS[kind], data, Place(source or Source()))
    return value


def object_to_data(value: Object) -> dict[str, Any]:
    """The inverse of object_from_data, without what is at its default."""
    return write_section(DEFINITIONS[KIND_OF[type(value)]], value)


def validate(value: Object) -> Object:
    """Check every field of an object that was built by hand; returns it in canonical spelling. Raises
    DefinitionError(s)."""
    return object_from_data(KIND_OF[type(value)], object_to_data(value))


def load(text: str, file: str) -> tuple[dict[str, Any], Source]:
    """Parse TOML; raises DefinitionError with the line, and of what stands twice also the first line."""
    if len(text) > TEXT_LIMIT:
        raise DefinitionError("the text is too long", f"write at most {TEXT_LIMIT} characters", file)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _syntax_error(text, file, error) from None
    # Only now: what tomllib refuses may be anything.
    return table, Source(file, lines.index(text))


def _syntax_error(text: str, file: str, error: Exception) -> DefinitionError:
    found = re.search(r"^(.*) \(at (?:line (\d+), column \d+|end of document)\)$", str(error), re.DOTALL)
    line = int(found[2]) if found and found[2] else text.count("\n") + 1 if found else 0
    for path, first, second in lines.index(text).twice:
        # tomllib stops where the table or the key ends; the index knows where it begins.
        if second == line or (second <= line and "twice" in str(error)):
            hint = "keep one of them, or give one another name"
            return DefinitionError(f"{'.'.join(path)} is there twice, first in line {first}", hint, file, second, path)
    problem = found[1] if found else str(error) or "nested too deeply"
    return DefinitionError(f"this is not TOML: {problem[:200]}", "correct this line", file, line)
