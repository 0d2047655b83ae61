"""The one door to zstd. Python 3.11 has none of its own, so the zstd(1) tool is run, once for each frame.

A frame is one chunk of 4 MiB: small enough that frames are handled in parallel and nothing is held for long, and
the bytes of a frame have matched their signed digest before the tool sees them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile


class ZstdError(Exception):
    """zstd is missing or refused its input."""


def require() -> None:
    """Raise ZstdError when the tool is not installed."""
    if shutil.which("zstd") is None:
        raise ZstdError("zstd is not installed, and the image is compressed with it: install the package zstd")


def compress(data: bytes | memoryview, level: int = 9) -> bytes:
    """One frame. Raises ZstdError."""
    return _run([f"-{level}", "--check"], data, None)


def decompress(frame: bytes | memoryview, length: int) -> bytes:
    """Exactly `length` bytes from one frame; raises ZstdError when it holds more or fewer."""
    out = _run(["-d", "--memory=64MB"], frame, length)
    if len(out) != length:
        raise ZstdError(f"the frame holds {'more' if len(out) > length else len(out)} bytes, not {length}")
    return out


def _run(options: list[str], data: bytes | memoryview, limit: int | None) -> bytes:
    """A file as standard input and a pipe as output: one stream to read, so no deadlock and no thread."""
    require()
    with tempfile.TemporaryFile(prefix="skep-zstd-") as source:
        source.write(data)
        source.seek(0)
        with subprocess.Popen(
            ["zstd", "-q", "-c", "--no-progress", "-T1", *options],  # noqa: S607 - found on PATH, as `require` does
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            out = process.stdout.read() if limit is None else process.stdout.read(limit + 1)
            if limit is not None and len(out) > limit:
                process.kill()
                return out
    if process.returncode != 0:
        raise ZstdError(f"zstd refused its input (exit {process.returncode})")
    return out
