"""Where a platform's programs keep their things, unless they are told otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Places:
    """state: definitions and journals. pool: as in the helper's policy. socket: of the API. helper: the helper's
    socket. signers: whose images are trusted."""

    state: Path
    pool: Path
    socket: Path
    helper: Path
    signers: Path
