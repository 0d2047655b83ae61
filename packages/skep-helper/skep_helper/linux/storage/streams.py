"""Streams of snapshots: what files cannot do."""

from __future__ import annotations

from typing import Any, NoReturn

from skep_helper.handlers import Context, Failure


def refuse(context: Context, request: Any) -> NoReturn:
    raise Failure(
        "unsupported",
        f"{type(request).__name__} needs OpenZFS, and this host keeps guests and images as files",
    )
