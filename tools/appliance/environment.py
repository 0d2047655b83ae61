"""The Python environment that the services run from: root's, locked, made by uv from this checkout."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import web_build

from .commands import run
from .places import ENVIRONMENT, PYTHON, REPOSITORY, UV
from .progress import Trouble, step

OURS = ("skep", "skepd", "skep-helper")
_STAMP = ENVIRONMENT / "skep-digest"


def install() -> bool:
    """Bring the environment to this checkout; whether anything changed."""
    if not (UV / "bin" / "uv").exists():
        with step("install uv"):
            run([PYTHON, "-m", "venv", UV])
            run([UV / "bin" / "pip", "install", "--quiet", "uv==" + _uv_version()])
    _pages()
    wanted = _digest()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return False
    with step("make the Python environment"):
        environment = {
            "UV_PROJECT_ENVIRONMENT": str(ENVIRONMENT),
            "UV_PYTHON_DOWNLOADS": "never",
            "VIRTUAL_ENV": "",
        }
        argv = [UV / "bin" / "uv", "sync", "--quiet", "--locked", "--no-dev", "--no-editable", "--compile-bytecode"]
        reinstall = [word for name in OURS for word in ("--reinstall-package", name)]
        run([*argv, "--python", PYTHON, "--project", REPOSITORY, *reinstall], environment)
        _STAMP.write_text(wanted)
    return True


def _pages() -> None:
    """The browser's pages, which the environment takes along."""
    if not web_build.is_built():
        with step("build the pages for the browser"):
            try:
                web_build.build(str(UV / "bin" / "uv"))
            except web_build.BuildError as error:
                raise Trouble(str(error)) from None


def _uv_version() -> str:
    return (REPOSITORY / "tools" / "uv-version").read_text().strip()


def _digest() -> str:
    """Of everything that ends up in the environment, or decides about it."""
    digest = hashlib.sha256()
    for path in sorted(_sources()):
        digest.update(str(path.relative_to(REPOSITORY)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sources() -> Iterator[Path]:
    yield REPOSITORY / "uv.lock"
    yield REPOSITORY / "pyproject.toml"
    for folder, folders, files in os.walk(REPOSITORY / "packages"):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        yield from (Path(folder) / name for name in files if not name.endswith(".pyc"))
