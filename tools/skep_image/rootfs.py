"""Putting the guest's root file system together in a folder."""

import re
import shutil
from pathlib import Path

from skep_image.modules import DEVICES, OTHERS, ModuleTree
from skep_image.steps import BuildError, run

LIBRARIES = "usr/lib/x86_64-linux-gnu"
LINKER = "usr/lib64/ld-linux-x86-64.so.2"
# Where the program goes in the guest; it is looked for with and without "usr/".
PROGRAMS = (
    "usr/bin/busybox",
    "usr/bin/dbclient",
    "usr/bin/doas",
    "usr/bin/dropbearkey",
    "usr/bin/resizepart",
    "usr/sbin/dropbear",
    "usr/sbin/e2fsck",
    "usr/sbin/mke2fs",
    "usr/sbin/qemu-ga",
    "usr/sbin/resize2fs",
    "usr/sbin/sfdisk",
    f"{LIBRARIES}/security/pam_permit.so",
)
FOLDERS = (
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "mnt",
    "home",
    "etc/dropbear",
    "var/lib/skep",
    "var/log",
    "var/www",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
)
LINKS = {
    "bin": "usr/bin",
    "sbin": "usr/sbin",
    "lib": "usr/lib",
    "lib64": "usr/lib64",
    "var/run": "../run",
    "etc/resolv.conf": "../run/resolv.conf",
    "etc/mtab": "../proc/self/mounts",
    "usr/bin/sudo": "doas",
    "usr/bin/ssh": "dbclient",
}
# Not what Git keeps of a file: modes that matter. The rest is 644 or 755.
MODES = {"etc/shadow": 0o600, "etc/doas.conf": 0o600, "usr/bin/doas": 0o4755, "root": 0o700, "tmp": 0o1777}
# Applets that would only mislead in this guest.
NO_APPLETS = {"linuxrc", "dpkg", "dpkg-deb", "rpm", "rpm2cpio"}


def _find(unpacked: Path, wanted: str) -> Path:
    for place in (wanted, wanted.removeprefix("usr/")):
        if (unpacked / place).exists():
            return unpacked / place
    raise BuildError(f"none of the packages holds /{wanted}")


def _needed(files: list[Path]) -> set[str]:
    return set(re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", *files)))


def _copy_libraries(programs: list[Path], unpacked: Path, root: Path) -> None:
    """Copies the libraries that the programs name, and those that these name."""
    (root / LIBRARIES).mkdir(parents=True, exist_ok=True)
    todo, seen = programs, set[str]()
    while todo:
        names = _needed(todo) - seen
        seen |= names
        todo = []
        for name in sorted(names):
            if name == Path(LINKER).name:
                continue
            source = _find(unpacked, f"{LIBRARIES}/{name}")
            shutil.copy(source, root / LIBRARIES / name)
            todo.append(source)
    shutil.copy(_find(unpacked, f"{LIBRARIES}/{Path(LINKER).name}"), root / LINKER)


def _link_applets(root: Path) -> None:
    for path in run(root / "usr/bin/busybox", "--list-full").split():
        folder = "usr/sbin" if "sbin/" in path else "usr/bin"
        link = root / folder / Path(path).name
        taken = (root / other / link.name for other in ("usr/bin", "usr/sbin"))
        if link.name not in NO_APPLETS and not any(other.is_symlink() or other.exists() for other in taken):
            link.symlink_to("/usr/bin/busybox")


def assemble(source: Path, unpacked: Path, modules: ModuleTree, root: Path) -> None:
    """Fills the folder `root` from the packages and from images/skep-small/rootfs."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for link, target in LINKS.items():
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(target)
    programs = [_find(unpacked, path) for path in PROGRAMS]
    for path, program in zip(PROGRAMS, programs, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(program, root / path)
    _copy_libraries(programs, unpacked, root)
    shutil.copytree(source / "rootfs", root, dirs_exist_ok=True)
    _link_applets(root)
    modules.install(DEVICES + OTHERS, root, root / "usr/bin/busybox")
