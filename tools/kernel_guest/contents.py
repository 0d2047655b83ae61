"""What goes into the guest from this machine: programs with their libraries, Python, pytest, kernel modules."""

from __future__ import annotations

import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from .archive import Archive

ROOT = Path(__file__).resolve().parent.parent.parent
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON_PACKAGES = (
    "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py", "pytest_timeout",
)  # fmt: skip
STANDARD_LIBRARY_LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "__pycache__"}
FOLDERS = ("proc", "sys", "dev", "run", "tmp", "root", "var/lib/misc", "etc/iproute2")
PASSWD = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n"
PYTEST_INI = """\
[pytest]
addopts = -q --color=no
markers =
    real: needs root and real kernel parts
    slow: more than ten seconds
    xdist_group: which tests share a worker
"""


def find(tool: str) -> str | None:
    return shutil.which(tool, path=SEARCH)


def require(tools: Iterable[str], name: str) -> bool:
    """Whether all of these are here; tells what is missing."""
    missing = [tool for tool in tools if find(tool) is None]
    if missing:
        print(f"{name} needs {', '.join(missing)}: install the packages that hold them", file=sys.stderr)
    return not missing


def python() -> Path:
    """The interpreter itself, not a virtual environment's link to it."""
    return Path(os.path.realpath(sys.executable))


def add_base(archive: Archive, init: str, tools: Iterable[str], programs: Mapping[Path, str] | None = None) -> None:
    """The folders, `init`, Python with pytest, these tools of this machine, and further programs by their names in
    the guest, each with its libraries."""
    for folder in FOLDERS:
        archive.add_folder(folder)
    text = init.replace("@PYTHON@", str(python())).replace("@HOME@", sys.base_prefix)
    archive.add_text("init", text, 0o755)
    archive.add_text("repository/pytest.ini", PYTEST_INI)
    archive.add_text("etc/passwd", PASSWD)
    archive.add_text("etc/group", GROUP)
    found = [python(), *(Path(str(find(tool))) for tool in tools)]
    for program in found:
        archive.add_file(program, f"bin/{program.name}" if program.name == "busybox" else None)
    for program, name in (programs or {}).items():
        archive.add_file(program, name)
    archive.add_link("sbin/modprobe", "/bin/busybox")
    extensions = list(_add_python(archive))
    for library in libraries([*found, *extensions]):
        archive.add_file(library)


def add_repository(archive: Archive, files: Iterable[Path]) -> None:
    for file in files:
        add_source(archive, file, f"repository/{file.relative_to(ROOT)}")


def add_source(archive: Archive, file: Path, name: str) -> None:
    """A file, and what Python compiles of it: compiling takes an emulated machine very long."""
    archive.add_file(file, name)
    if file.suffix != ".py":
        return
    folder, _, base = name.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "compiled"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        try:
            py_compile.compile(str(file), str(compiled), f"/{name}", doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError:
            return
        tag = sys.implementation.cache_tag
        archive.add_file(compiled, f"{folder}/__pycache__/{base.removesuffix('.py')}.{tag}.pyc")


def _add_python(archive: Archive) -> Iterator[Path]:
    """The standard library and pytest; yields what is compiled."""
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    for folder, names, files in os.walk(library):
        names[:] = [name for name in names if name not in STANDARD_LIBRARY_LEFT_OUT and "config-" not in name]
        for file in map(Path(folder).joinpath, files):
            if file.suffix == ".py":
                add_source(archive, file, str(file).strip("/"))
            elif file.suffix == ".so":
                archive.add_file(file)
                yield file
    packages = Path(sysconfig.get_path("purelib"))
    for package in PYTHON_PACKAGES:
        for file in (packages / f"{package}.py", *(packages / package).rglob("*.py")):
            if file.exists():
                add_source(archive, file, f"packages/{file.relative_to(packages)}")
        for entry in packages.glob(f"{package}-*.dist-info/*"):
            if entry.name in ("METADATA", "entry_points.txt"):
                archive.add_file(entry, f"packages/{entry.relative_to(packages)}")


def libraries(programs: Iterable[Path], folder: Path | None = None) -> set[Path]:
    """The shared libraries that these need, and the loader. folder: where more of them are looked for."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder)} if folder else None
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False, env=environment)
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)}
    return found


def add_modules(archive: Archive, modules: Path, folders: Iterable[str]) -> None:
    """The kernel's modules below these folders, with modprobe's indices."""
    to = f"lib/modules/{modules.name}"
    for file in modules.glob("modules.*"):
        archive.add_file(file, f"{to}/{file.name}")
    for folder in folders:
        for file in (modules / folder).rglob("*.ko*"):
            if "wireless" not in file.parts and "ethernet" not in file.parts:
                archive.add_file(file, f"{to}/{file.relative_to(modules)}")
