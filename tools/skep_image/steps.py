"""Running host tools and telling the person who waits what goes on."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Command -> the Debian package that has it.
HOST_TOOLS = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "objcopy": "binutils",
    "objdump": "binutils",
    "readelf": "binutils",
    "mformat": "mtools",
    "mcopy": "mtools",
    "mmd": "mtools",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "zstd": "zstd",
}


class BuildError(Exception):
    """What went wrong, said so that a person can act on it."""


def find_tool(name: str) -> str:
    # An ordinary user of Debian does not have the sbin folders on the path.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        raise BuildError(f"{name} is not installed: apt-get install {HOST_TOOLS.get(name, name)}")
    return found


def check_tools() -> None:
    missing = set()
    for name, package in HOST_TOOLS.items():
        try:
            find_tool(name)
        except BuildError:
            missing.add(package)
    if missing:
        raise BuildError(f"these packages are needed: apt-get install {' '.join(sorted(missing))}")


def run(tool: str | Path, *arguments: str | Path, cwd: Path | None = None, text: str = "") -> str:
    """Runs one program with `text` as its input and returns what it printed."""
    program = str(tool) if isinstance(tool, Path) else find_tool(tool)
    argv = [program, *(str(argument) for argument in arguments)]
    done = subprocess.run(argv, input=text, capture_output=True, text=True, cwd=cwd, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(argv)[:300]}\nended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


@contextmanager
def step(what: str) -> Iterator[None]:
    """Prints what is being done, and then how long it took."""
    began = time.monotonic()
    sys.stderr.write(f"  {what} ... ")
    sys.stderr.flush()
    try:
        yield
    except BaseException:
        sys.stderr.write("failed\n")
        raise
    sys.stderr.write(f"{time.monotonic() - began:.1f} s\n")
