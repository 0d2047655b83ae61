"""Sections and keys: one table from which definitions are read, written and documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .errors import DefinitionError, DefinitionErrors, nearest
from .lines import LineIndex

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "required"})()


@dataclass(frozen=True)
class Source:
    """The text that values come from; without one (a request) errors have a path only."""

    file: str = ""
    lines: LineIndex = field(default_factory=LineIndex)


@dataclass(frozen=True)
class Place:
    """Where a value stands: makes errors that say so."""

    source: Source
    path: tuple[str | int, ...] = ()

    def at(self, key: str | int) -> Place:
        return Place(self.source, (*self.path, key))

    @property
    def strings(self) -> tuple[str, ...]:
        return tuple(str(part) for part in self.path)

    @property
    def line(self) -> int:
        return self.source.lines.line(self.strings)

    def error(self, problem: str, hint: str = "") -> DefinitionError:
        dotted = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path).lstrip(".")
        text = f"{dotted}: {problem}" if dotted else problem
        return DefinitionError(text, hint, self.source.file, self.line, self.strings)


class Type(Protocol):
    """What a key's value may be."""

    @property
    def name(self) -> str:
        """For the reference: "size", "list of addresses"."""
        ...

    def read(self, value: Any, place: Place) -> Any:
        """The model's value; raises DefinitionError."""
        ...

    def write(self, value: Any) -> Any:
        """The inverse of read, as TOML (JSON) types."""
        ...


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a section. attribute: the field it is kept in. default_text: what the reference says of a default that
    is worked out."""

    name: str
    type: Type
    doc: str
    default: Any = REQUIRED
    attribute: str = ""
    example: str = ""
    default_text: str = ""

    @property
    def field(self) -> str:
        return self.attribute or self.name.replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Section:
    """A table with these keys, read into what `build` makes of them."""

    title: str
    build: Callable[..., Any]
    doc: str = ""
    keys: tuple[Key, ...]

    def key(self, name: str) -> Key | None:
        return next((key for key in self.keys if key.name == name), None)


class Collector:
    """Gathers the errors of parts that are read one after another, so that all are reported at once."""

    def __init__(self) -> None:
        self.errors: list[DefinitionError] = []

    def run(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a reader; None when it raised, which is remembered."""
        try:
            return read(*arguments)
        except DefinitionError as error:
            self.errors += error.errors
            return None

    def finish(self) -> None:
        """Raises what was gathered, in the order of the text."""
        if not self.errors:
            return
        ordered = sorted(self.errors, key=lambda error: error.line)
        raise ordered[0] if len(ordered) == 1 else DefinitionErrors(ordered)


def read_table(value: Any, place: Place) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise place.error(f"{shown(value)} is not a table", "write keys and values below a [header], or in { }")
    return value


def read_section(section: Section, value: Any, place: Place, given: Mapping[str, Any] | None = None) -> Any:
    """Read a table; raises DefinitionError(s) for all that is wrong in it. given: fields known from elsewhere."""
    table = read_table(value, place)
    collector = Collector()
    names = [key.name for key in section.keys]
    for name in table:
        if name not in names:
            collector.errors.append(place.at(name).error("there is no such key", nearest(name, names)))
    fields = dict(given or {})
    for key in section.keys:
        if key.name in table:
            fields[key.field] = collector.run(key.type.read, table[key.name], place.at(key.name))
        elif key.default is REQUIRED and key.field not in fields:
            hint = f"write {key.name} = {key.example}" if key.example else f"it is a {key.type.name}"
            collector.errors.append(place.error(f"{key.name} is missing", hint))
        elif key.field not in fields:
            fields[key.field] = key.default
    collector.finish()
    return section.build(**fields)


def write_section(section: Section, value: Any) -> dict[str, Any]:
    """The inverse of read_section; keys at their default are left out."""
    out: dict[str, Any] = {}
    for key in section.keys:
        item = getattr(value, key.field)
        if key.default is REQUIRED or item != key.default:
            out[key.name] = key.type.write(item)
    return out


def shown(value: Any) -> str:
    """A value in an error: short, in TOML's spelling."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 and value.isprintable() else f"{value!r:.60}"
    return f"{value!s:.60}"
