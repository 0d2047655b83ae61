"""The text of a bhyve configuration, bhyve_config(5), as bhyve's own parser reads it.

A line is KEY=VALUE, split at the first '='. There is no quoting: blanks and carriage returns become part of the key or
the value, an empty value is an error, the last line of a key wins, a value cannot lie on a key that has keys below it,
and '%(name)' is replaced in values (with '\\' as escape, but only in values that have a '%'). So everything that could
be read otherwise than it was meant is refused here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...vocabulary.fields import Rejected

_KEY = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")
_VALUE = re.compile(r"[!-$&-\[\]-~]([ -$&-\[\]-~]*[!-$&-\[\]-~])?")
_LONGEST = 1024


def render(settings: Mapping[str, str], remarks: str = "") -> str:
    """The text, in the order of the mapping. remarks: comment lines before it. Raises Rejected naming the key."""
    for key, value in settings.items():
        check(key, value)
    for key in settings:
        _check_tree(key, settings)
    head = "".join(f"# {line}\n" for line in remarks.splitlines())
    return head + "".join(f"{key}={value}\n" for key, value in settings.items())


def check(key: str, value: str) -> None:
    """Raises Rejected for what bhyve would read otherwise."""
    if not _KEY.fullmatch(key):
        raise Rejected(f"{key!r:.80} is not the name of a bhyve variable")
    if len(value) > _LONGEST or not _VALUE.fullmatch(value):
        reason = "it must be one line of ASCII without '%' and '\\', not empty, without blanks at its ends"
        raise Rejected(f"bhyve would misread the value {value!r:.80} of {key}: {reason}")


def _check_tree(key: str, settings: Mapping[str, str]) -> None:
    parts = key.split(".")
    for length in range(1, len(parts)):
        parent = ".".join(parts[:length])
        if parent in settings:
            raise Rejected(f"bhyve variable {parent} has a value, so that there cannot be {key}")
