"""OpenZFS for the guest: the module, built on this machine against the cloud kernel's headers, and the tools.

From Debian's zfs-dkms and zfsutils-linux. Building takes some minutes, so what was built is kept for each pair of
kernel and OpenZFS.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .archive import Archive
from .contents import find, libraries
from .packages import KERNEL, Apt, with_contrib

LIBRARIES = "lib/x86_64-linux-gnu"
USERLAND = ("zfsutils-linux", "libzfs4linux", "libnvpair3linux", "libuutil3linux", "libzpool5linux", "udev", "libkmod2")
PROGRAMS = (
    "sbin/zfs", "sbin/zpool", "sbin/zdb", "sbin/zstream", "sbin/mount.zfs", "lib/udev/zvol_id", "bin/udevadm",
)  # fmt: skip
RULES = ("50-udev-default.rules", "60-block.rules", "60-persistent-storage.rules", "60-zvol.rules")
COMPILER = ("gcc-12", "make")


@dataclass(frozen=True)
class Parts:
    """Where things lie: the kernel's image, its modules with OpenZFS's, and the packages' files."""

    release: str
    version: str
    root: Path

    @property
    def kernel(self) -> Path:
        return self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def modules(self) -> Path:
        return self.root / "lib" / "modules" / self.release


def fetch(cache: Path) -> Parts:
    """What is kept for the newest kernel and OpenZFS, built first where it is not."""
    apt = with_contrib(cache / "apt")
    release = apt.kernel()
    image = f"linux-image-{release}"
    versions = apt.versions(image, "zfs-dkms")
    if len(versions) < 2:
        raise SystemExit(f"apt knows no {KERNEL} or no zfs-dkms (of contrib): is this Debian's apt?")
    version = versions["zfs-dkms"]
    folder = cache / f"{release}_{versions[image]}_zfs_{version}"
    parts = Parts(release, version, folder / "root")
    if not (folder / "done").exists():
        apt.unpack([image, *USERLAND], parts.root)
        work = folder / "work"
        _build(apt, release, work, parts.modules / "extra")
        subprocess.run([str(find("busybox")), "depmod", "-b", parts.root, release], check=True)
        shutil.rmtree(work)
        (folder / "done").touch()
    return parts


def _build(apt: Apt, release: str, work: Path, target: Path) -> None:
    """Compile the module and put its parts into `target`."""
    headers = f"linux-headers-{release}"
    common = f"linux-headers-{release.removesuffix('-cloud-amd64')}-common"
    kbuild = "linux-kbuild-" + ".".join(release.split(".")[:2])
    apt.unpack([headers, common, kbuild, "zfs-dkms"], work)
    sources = work / "usr" / "src"
    # It names the common headers where they are when they are installed.
    makefile = sources / headers / "Makefile"
    makefile.write_text(makefile.read_text().replace("/usr/src", str(sources)))
    source = next(sources.glob("zfs-*"))
    for script in (source / "configure", *source.glob("scripts/*"), *source.glob("config/*")):
        script.chmod(0o755)
    print(f"building OpenZFS for {release}: some minutes, once", flush=True)
    configure = ["./configure", "--with-config=kernel", f"--with-linux={sources / common}"]
    _logged([*configure, f"--with-linux-obj={sources / headers}"], source, work / "configure.log")
    _logged(["make", f"-j{os.cpu_count() or 1}"], source, work / "make.log")
    target.mkdir()
    for module in source.glob("module/**/*.ko"):
        # Without debugging symbols, which are most of it.
        subprocess.run(["strip", "-g", "-o", target / module.name, module], check=True)


def _logged(argv: list[str], folder: Path, log: Path) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "CC": COMPILER[0]}
    with log.open("wb") as stream:
        done = subprocess.run(argv, cwd=folder, env=environment, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise SystemExit(f"{argv[0]} ended with {done.returncode}; its end, from {log}:\n{tail}")


def add(archive: Archive, parts: Parts) -> None:
    """The tools with their libraries, udev with the rules that make /dev/zvol, and the module."""
    programs = [parts.root / name for name in PROGRAMS]
    for program, name in zip(programs, PROGRAMS, strict=True):
        archive.add_file(program, name)
    archive.add_link("lib/systemd/systemd-udevd", "/bin/udevadm")
    for rule in RULES:
        archive.add_file(parts.root / "lib" / "udev" / "rules.d" / rule, f"lib/udev/rules.d/{rule}")
    for library in libraries(programs, parts.root / LIBRARIES):
        inside = library.is_relative_to(parts.root)
        archive.add_file(library, str(library.relative_to(parts.root)) if inside else None)
    # Not named by any of them: the C library loads it when zfs send ends the thread that tells its progress.
    archive.add_file(Path("/") / LIBRARIES / "libgcc_s.so.1", f"{LIBRARIES}/libgcc_s.so.1")
    for module in (parts.modules / "extra").glob("*.ko"):
        archive.add_file(module, f"lib/modules/{parts.release}/extra/{module.name}")
