"""Writing TOML: tables of strings, numbers, truth values, lists and tables. Order is kept as given."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r'[\x00-\x08\x0a-\x1f\x7f"\\]')
_ESCAPED_LONG = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\\]")
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"}


def dumps(table: Mapping[str, Any]) -> str:
    """The text of a document: what is no table first, then each table under its header, parted by empty lines."""
    lines: list[str] = []
    _table(lines, (), table)
    return "\n".join(lines).strip("\n") + "\n" if lines else ""


def _table(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    for key, value in table.items():
        if not _has_header(value):
            lines.append(f"{_key(key)} = {_value(value)}")
    for key, value in table.items():
        if not _has_header(value):
            continue
        inner = (*path, key)
        dotted = ".".join(_key(part) for part in inner)
        entries = value if isinstance(value, list) else [value]
        for entry in entries:
            # A table that holds nothing but tables needs no header of its own.
            if isinstance(value, list) or not entry or not all(_has_header(item) for item in entry.values()):
                lines += ["", f"[[{dotted}]]" if isinstance(value, list) else f"[{dotted}]"]
            _table(lines, inner, entry)


def _has_header(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, Mapping) for item in value)
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _long_string(value) if "\n" in value else _string(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + " }"
    items = [_string(item) if isinstance(item, str) else _value(item) for item in value]
    line = "[" + ", ".join(items) + "]"
    return line if len(line) <= 100 else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def _string(value: str) -> str:
    return '"' + _ESCAPED.sub(_escape, value) + '"'


def _long_string(value: str) -> str:
    inner = _ESCAPED_LONG.sub(_escape, value).replace('"""', '""\\"')
    if inner.endswith('"'):
        inner = inner[:-1] + '\\"'
    return f'"""\n{inner}"""'


def _escape(match: re.Match[str]) -> str:
    return _SHORT.get(match[0]) or f"\\u{ord(match[0]):04x}"
