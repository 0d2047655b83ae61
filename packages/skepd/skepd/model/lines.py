"""Where each key of a TOML text stands: tomllib gives values without positions, this gives positions without values.

The text must be one that tomllib accepts; of other texts the index covers what it could follow. Paths are tuples of
strings; entries of arrays are numbered: ("guest", "files", "disk", "0", "size").
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from dataclasses import dataclass, field

Path = tuple[str, ...]

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_BASIC = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_LITERAL = re.compile(r"'[^'\n]*'")
_LONG_BASIC = re.compile(r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}', re.DOTALL)
_LONG_LITERAL = re.compile(r"'''(?:[^']|'(?!''))*'{3,5}", re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}#][^,\]}#\n]*")


@dataclass
class LineIndex:
    """Lines (1-based) by path. twice: keys and tables that stand twice, as (path, first line, second line)."""

    lines: dict[Path, int] = field(default_factory=dict)
    twice: list[tuple[Path, int, int]] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of this path, or of the nearest thing around it; 0 when nothing of it is in the text."""
        for end in range(len(path), 0, -1):
            found = self.lines.get(path[:end])
            if found:
                return found
        return 0


class _Lost(Exception):
    """The scanner met something that is no TOML."""


def index(text: str) -> LineIndex:
    """Index a TOML text; never raises."""
    scanner = _Scanner(text)
    # tomllib says what is wrong with a text that loses us; the index serves what came before.
    with contextlib.suppress(_Lost, RecursionError):
        scanner.scan()
    return scanner.index


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.index = LineIndex()
        self._entries: dict[Path, int] = {}
        self._headers: set[Path] = set()
        self._counted = (0, 1)

    def scan(self) -> None:
        table: Path = ()
        self._skip(_SPACE)
        while self.at < len(self.text):
            table = self._header() if self._sees("[") else self._pair(table)
            self._skip(_SPACE)

    def _line(self) -> int:
        position, line = self._counted
        line += self.text.count("\n", position, self.at)
        self._counted = (self.at, line)
        return line

    def _sees(self, token: str) -> bool:
        return self.text.startswith(token, self.at)

    def _take(self, token: str) -> None:
        if not self._sees(token):
            raise _Lost
        self.at += len(token)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Lost
        self.at = match.end()
        return match[0]

    def _header(self) -> Path:
        line = self._line()
        double = self._sees("[[")
        self._take("[[" if double else "[")
        keys = self._keys()
        self._take("]]" if double else "]")
        path = self._mark_parents((), keys, line)
        if double:
            self._note(path, line, repeats=True)
            number = self._entries.get(path, 0)
            self._entries[path] = number + 1
            path = (*path, str(number))
            self._note(path, line)
        else:
            # A table may be opened after a key below it: that is not twice.
            self._note(path, line, repeats=path not in self._headers)
            self._headers.add(path)
        return path

    def _mark_parents(self, table: Path, keys: list[str], line: int) -> Path:
        """The path of dotted keys below a table; tables on the way that are new get this line."""
        path = table
        for key in keys[:-1]:
            path = (*path, key)
            self._note(path, line, repeats=True)
            if path in self._entries:
                path = (*path, str(self._entries[path] - 1))
        return (*path, keys[-1])

    def _note(self, path: Path, line: int, *, repeats: bool = False) -> None:
        first = self.index.lines.setdefault(path, line)
        if not repeats and first != line:
            self.index.twice.append((path, first, line))

    def _pair(self, table: Path) -> Path:
        line = self._line()
        path = self._mark_parents(table, self._keys(), line)
        self._note(path, line)
        self._take("=")
        self._skip(_BLANK)
        self._value(path)
        return table

    def _keys(self) -> list[str]:
        keys: list[str] = []
        while True:
            self._skip(_BLANK)
            keys.append(self._key())
            self._skip(_BLANK)
            if not self._sees("."):
                return keys
            self._take(".")

    def _key(self) -> str:
        if self._sees('"'):
            return _unquote(self._skip(_BASIC))
        if self._sees("'"):
            return self._skip(_LITERAL)[1:-1]
        return self._skip(_BARE)

    def _value(self, path: Path) -> None:
        if self._sees("["):
            self._array(path)
        elif self._sees("{"):
            self._inline_table(path)
        else:
            self._skip(self._scalar_pattern())

    def _scalar_pattern(self) -> re.Pattern[str]:
        for token, pattern in (('"""', _LONG_BASIC), ("'''", _LONG_LITERAL), ('"', _BASIC), ("'", _LITERAL)):
            if self._sees(token):
                return pattern
        return _SCALAR

    def _array(self, path: Path) -> None:
        self._take("[")
        number = 0
        self._skip(_SPACE)
        while not self._sees("]"):
            entry = (*path, str(number))
            self._note(entry, self._line())
            self._value(entry)
            number += 1
            self._skip(_SPACE)
            if not self._sees("]"):
                self._take(",")
                self._skip(_SPACE)
        self._take("]")

    def _inline_table(self, path: Path) -> None:
        self._take("{")
        self._skip(_SPACE)
        while not self._sees("}"):
            self._pair(path)
            self._skip(_SPACE)
            if not self._sees("}"):
                self._take(",")
                self._skip(_SPACE)
        self._take("}")


def _unquote(quoted: str) -> str:
    try:
        return str(tomllib.loads(f"k = {quoted}")["k"])
    except tomllib.TOMLDecodeError:
        raise _Lost from None
