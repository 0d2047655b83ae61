"""KEY=VALUE on the command line, and files: both become the TOML text of a definition, which the server checks."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import click

from .failures import COMMAND_LINE

TOML = {"Content-Type": "application/toml"}
_KEY = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


def text_of(settings: tuple[str, ...]) -> str:
    """One line for each setting. A value that is no TOML is a text: memory=2G, kind=nat."""
    return "".join(f"{line}\n" for line in map(_line, settings))


def _line(setting: str) -> str:
    key, sign, value = setting.partition("=")
    if not sign or not _KEY.fullmatch(key):
        raise click.UsageError(f"{setting!r} is not KEY=VALUE; write e.g. memory=2G")
    try:
        tomllib.loads(f"{key} = {value}")
    except tomllib.TOMLDecodeError:
        value = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return f"{key} = {value}"


def definition(settings: tuple[str, ...], file: Path | None) -> tuple[bytes, dict[str, str], str]:
    """Body, headers and what errors shall call it, from a file (TOML, or JSON by its name) or from settings."""
    if file is None:
        return text_of(settings).encode(), TOML, COMMAND_LINE
    if settings:
        raise click.UsageError("give KEY=VALUE or --file, not both; edit the file")
    headers: dict[str, Any] = {"Content-Type": "application/json"} if file.suffix == ".json" else TOML
    return file.read_bytes(), headers, str(file)
