"""Finding, fetching and unpacking Debian packages without installing them."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from skep_image.steps import BuildError, run

# What goes into the guest, besides the kernel and the libraries these need.
GUEST_PACKAGES = (
    "busybox-static",
    "dropbear-bin",
    "e2fsprogs",
    "fdisk",
    "libpam-modules",
    "opendoas",
    "qemu-guest-agent",
    "util-linux",
)
STUB_PACKAGE = "systemd-boot-efi"
# The first that the distribution knows: Debian's, then Ubuntu's.
KERNELS = ("linux-image-cloud-amd64", "linux-image-virtual")

_LIBRARY = re.compile(r"^(lib|zlib)")
_KERNEL_PART = re.compile(r"^linux-(image|modules)-[0-9]")


@dataclass(frozen=True)
class Package:
    """One package file as apt names it."""

    name: str
    file: str
    size: int
    digest: str


def _graph(names: list[str]) -> dict[str, set[str]]:
    """Package -> what it depends on, for `names` and all below; one call, since each reads apt's whole cache."""
    graph: dict[str, set[str]] = {}
    below: set[str] = set()
    for line in run("apt-cache", "depends", "--recurse", "--important", *names).splitlines():
        if not line.startswith((" ", "|")):
            below = graph.setdefault(line.split(":")[0], set())
            continue
        key, _, value = line.strip().partition(": ")
        if key.lstrip("|") in ("Depends", "PreDepends") and not value.startswith("<"):
            below.add(value.split(":")[0])
    return graph


def _closure(graph: dict[str, set[str]], names: list[str], wanted: re.Pattern[str]) -> set[str]:
    """`names` and all that they need, following only packages whose name is `wanted`."""
    seen = set(names)
    todo = list(names)
    while todo:
        more = {name for name in graph.get(todo.pop(), ()) if wanted.match(name)} - seen
        seen |= more
        todo += more
    return seen


def _kernel() -> str:
    known = set(run("apt-cache", "pkgnames", "linux-image-").split())
    for name in KERNELS:
        if name in known:
            return name
    raise BuildError(f"apt knows none of {', '.join(KERNELS)}: run apt-get update")


def resolve(scratch: Path) -> list[Package]:
    """Every package the image is made of, in the versions apt would install now."""
    kernel = _kernel()
    graph = _graph([kernel, *GUEST_PACKAGES])
    names = _closure(graph, list(GUEST_PACKAGES), _LIBRARY) | {STUB_PACKAGE}
    # The first is only a name for the newest kernel.
    names |= _closure(graph, [kernel], _KERNEL_PART) - {kernel}
    scratch.mkdir(parents=True, exist_ok=True)
    # In an empty folder: apt does not list what it finds there already.
    listing = run("apt-get", "download", "--print-uris", *sorted(names), cwd=scratch)
    packages = []
    for line in listing.splitlines():
        match = re.match(r"^'([^']+)' (\S+) (\d+) (\S+)$", line)
        if match:
            packages.append(Package(match[2].split("_")[0], match[2], int(match[3]), match[4]))
    missing = names - {package.name for package in packages}
    if missing:
        raise BuildError(f"apt has no source for {', '.join(sorted(missing))}: run apt-get update")
    return sorted(packages, key=lambda package: package.name)


def _is_complete(path: Path, package: Package) -> bool:
    if not path.is_file() or path.stat().st_size != package.size:
        return False
    method, _, digest = package.digest.partition(":")
    return method != "SHA256" or hashlib.sha256(path.read_bytes()).hexdigest() == digest


def fetch(packages: list[Package], folder: Path) -> list[Path]:
    """Downloads what is not in `folder` yet; returns all files."""
    folder.mkdir(parents=True, exist_ok=True)
    # apt writes the colon of an epoch as %3a.
    paths = {package.name: folder / package.file.replace(":", "%3a") for package in packages}
    missing = [package.name for package in packages if not _is_complete(paths[package.name], package)]
    for name in missing:
        paths[name].unlink(missing_ok=True)
    if missing:
        run("apt-get", "download", *missing, cwd=folder)
    for package in packages:
        if not _is_complete(paths[package.name], package):
            raise BuildError(f"apt did not bring {paths[package.name].name} whole: run apt-get update and try again")
    return list(paths.values())


def unpack(files: list[Path], folder: Path) -> None:
    for file in files:
        run("dpkg-deb", "-x", file, folder)
