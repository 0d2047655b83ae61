"""YAML as cloud-init and skep-small read it: block mappings and sequences, two spaces, quoted where in doubt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/._-]*")
_WORDS = frozenset(["true", "false", "yes", "no", "on", "off", "null", "y", "n"])


def dump(value: dict[str, Any]) -> str:
    """A mapping of strings, integers, booleans, lists and mappings as one YAML document."""
    return "".join(f"{line}\n" for line in _mapping(value, ""))


def _mapping(value: dict[str, Any], indent: str) -> Iterator[str]:
    for key, item in value.items():
        yield from _entry(f"{indent}{key}:", item, indent + "  ")


def _entry(head: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict) and item:
        yield head
        yield from _mapping(item, indent)
    elif isinstance(item, list | tuple) and item:
        yield head
        for element in item:
            yield from _element(element, indent)
    else:
        yield f"{head} {_scalar(item)}"


def _element(element: Any, indent: str) -> Iterator[str]:
    if isinstance(element, dict) and element:
        lines = _mapping(element, indent + "  ")
        yield f"{indent}- {next(lines).lstrip()}"
        yield from lines
    else:
        yield f"{indent}- {_scalar(element)}"


def _scalar(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, int):
        return str(item)
    if isinstance(item, dict):
        return "{}"
    if isinstance(item, list | tuple):
        return "[]"
    text = str(item)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    # A JSON string is a YAML double-quoted one; without ASCII escapes, whose surrogate pairs YAML does not know.
    return json.dumps(text, ensure_ascii=False)
