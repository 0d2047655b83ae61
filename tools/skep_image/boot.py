"""The boot file: kernel, initramfs and command line as one EFI program."""

import re
import shutil
import stat
from pathlib import Path

from skep_image.modules import DEVICES, ModuleTree
from skep_image.steps import BuildError, run

# The serial line comes last and so is /dev/console. Both "quiet" and the checks
# left out are worth seconds where the processor is emulated.
COMMAND_LINE = (
    "root=LABEL=skep-root console=tty0 console=ttyS0,115200 quiet panic=10 no_timer_check tsc=reliable "
    "random.trust_cpu=on random.trust_bootloader=on"
)
STUB = "usr/lib/systemd/boot/efi/linuxx64.efi.stub"


def _cpio_entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file in the "newc" format; everything belongs to root and dates from 1970."""
    encoded = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4)


def _archive(tree: Path) -> bytes:
    parts = []
    for path in sorted(tree.rglob("*")):
        name = str(path.relative_to(tree))
        if path.is_symlink():
            parts.append(_cpio_entry(name, stat.S_IFLNK | 0o777, str(path.readlink()).encode()))
        elif path.is_dir():
            parts.append(_cpio_entry(name, stat.S_IFDIR | 0o755))
        else:
            parts.append(_cpio_entry(name, stat.S_IFREG | 0o755, path.read_bytes()))
    # The kernel opens it before anything is mounted.
    parts.append(_cpio_entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    parts.append(_cpio_entry("TRAILER!!!", 0))
    return b"".join(parts)


def make_initramfs(source: Path, root: Path, modules: ModuleTree, work: Path) -> Path:
    """A small archive: busybox, the drivers of disks and networks, and one script."""
    tree = work / "initramfs"
    for folder in ("bin", "dev", "proc", "sys", "root", "usr/lib"):
        (tree / folder).mkdir(parents=True)
    (tree / "lib").symlink_to("usr/lib")
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    shutil.copy(source / "initramfs-init", tree / "init")
    modules.install(DEVICES, tree, root / "usr/bin/busybox")
    archive = work / "initramfs.cpio"
    archive.write_bytes(_archive(tree))
    run("zstd", "-q", "-19", "-f", archive, "-o", work / "initramfs.cpio.zst")
    return work / "initramfs.cpio.zst"


def _end_of_sections(stub: Path) -> tuple[int, int]:
    """First free address behind the stub's sections, and the alignment of sections."""
    headers = run("objdump", "-h", "-p", stub)
    found = re.search(r"SectionAlignment\s+([0-9a-f]+)", headers)
    sections = re.findall(r"^\s*\d+ \S+\s+([0-9a-f]{8}) +([0-9a-f]{8,16}) ", headers, re.MULTILINE)
    if found is None or not sections:
        raise BuildError(f"objdump does not understand {stub.name}")
    return max(int(size, 16) + int(start, 16) for size, start in sections), int(found[1], 16)


def make_boot_file(unpacked: Path, modules: ModuleTree, initramfs: Path, work: Path) -> Path:
    """Joins systemd's EFI stub, kernel, initramfs and command line."""
    kernel = unpacked / "boot" / f"vmlinuz-{modules.version}"
    if not kernel.is_file():
        raise BuildError(f"the kernel package holds no boot/{kernel.name}")
    command_line, release = work / "cmdline", work / "osrel"
    command_line.write_bytes(COMMAND_LINE.encode() + b"\0")
    release.write_text(f"ID=skep-small\nNAME=skep-small\nVERSION_ID={modules.version}\n")
    stub = unpacked / STUB
    address, alignment = _end_of_sections(stub)
    options: list[str] = []
    parts = {".osrel": release, ".cmdline": command_line, ".initrd": initramfs, ".linux": kernel}
    for section, file in parts.items():
        address += -address % alignment
        options += ["--add-section", f"{section}={file}", "--change-section-vma", f"{section}={address:#x}"]
        address += file.stat().st_size
    boot_file = work / "BOOTX64.EFI"
    run("objcopy", *options, stub, boot_file)
    return boot_file
