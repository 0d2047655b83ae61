"""The disk image: partition table, EFI system partition and root file system, nothing ever mounted."""

import os
import struct
import uuid
import zlib
from pathlib import Path

from skep_image.rootfs import MODES
from skep_image.steps import run

MIB = 1 << 20
SECTOR = 512
FIRST = MIB // SECTOR
ENTRIES = 128
_ESP_TYPE = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
_LINUX_TYPE = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
_NAMESPACE = uuid.UUID("5b7a5f50-9f5c-5f0e-8d2e-6a1f9c3d7e10")


def _identifier(what: str) -> uuid.UUID:
    """Nothing random: a partition has the same identifier in every build."""
    return uuid.uuid5(_NAMESPACE, what)


def make_esp(boot_file: Path, image: Path) -> None:
    size = boot_file.stat().st_size + 3 * MIB
    size += -size % MIB
    image.write_bytes(b"")
    os.truncate(image, size)
    geometry = ("-T", str(size // SECTOR), "-h", "64", "-s", "32")
    run("mformat", "-i", image, *geometry, "-v", "SKEP-EFI", "-N", "53600001", "::")
    run("mmd", "-i", image, "::EFI", "::EFI/BOOT")
    run("mcopy", "-i", image, boot_file, "::EFI/BOOT/BOOTX64.EFI")


def _ownership_script(root: Path) -> str:
    """debugfs commands that give every file to root, whoever builds, and set the modes."""
    lines = ["sif / uid 0", "sif / gid 0", "sif / mode 040755"]
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        lines += [f"sif /{name} uid 0", f"sif /{name} gid 0"]
        if not path.is_symlink():
            kind, default = (0o040000, 0o755) if path.is_dir() else (0o100000, 0o644 | (path.stat().st_mode & 0o111))
            lines.append(f"sif /{name} mode 0{kind | MODES.get(name, default):o}")
    return "\n".join(lines) + "\n"


def make_root(root: Path, image: Path) -> None:
    """An ext4 file system with some room; the guest grows it to its disk."""
    used = sum(-(-path.lstat().st_size // 4096) * 4096 for path in root.rglob("*"))
    size = used + used // 8 + 12 * MIB
    size += -size % (4 * MIB)
    image.write_bytes(b"")
    os.truncate(image, size)
    script = image.with_suffix(".debugfs")
    script.write_text(_ownership_script(root))
    seed = str(_identifier("hash seed"))
    run(
        *("mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "skep-root", "-U", str(_identifier("root"))),
        *("-m", "1", "-J", "size=4", "-E", f"hash_seed={seed},lazy_itable_init=0,lazy_journal_init=0"),
        *("-d", root, image),
    )
    run("debugfs", "-w", "-f", script, image)


def _entry(kind: uuid.UUID, name: str, start: int, end: int) -> bytes:
    head = kind.bytes_le + _identifier(name).bytes_le + struct.pack("<QQQ", start, end, 0)
    return head + name.encode("utf-16-le").ljust(72, b"\0")


def _gpt_header(total: int, here: int, table: int, checksum: int) -> bytes:
    other = total - 1 if here == 1 else 1

    def pack(own_checksum: int) -> bytes:
        head = struct.pack("<8sIIIIQQQQ", b"EFI PART", 0x10000, 92, own_checksum, 0, here, other, 34, total - 34)
        return head + _identifier("disk").bytes_le + struct.pack("<QIII", table, ENTRIES, 128, checksum)

    return pack(zlib.crc32(pack(0))).ljust(SECTOR, b"\0")


def join(esp: Path, root: Path, image: Path) -> None:
    """Writes one raw disk image with a GUID partition table around the two partitions."""
    esp_sectors, root_sectors = esp.stat().st_size // SECTOR, root.stat().st_size // SECTOR
    root_start = FIRST + esp_sectors
    total = root_start + root_sectors + MIB // SECTOR
    table = _entry(_ESP_TYPE, "EFI", FIRST, root_start - 1)
    table += _entry(_LINUX_TYPE, "root", root_start, root_start + root_sectors - 1)
    table = table.ljust(ENTRIES * 128, b"\0")
    checksum = zlib.crc32(table)
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, total - 1)
    with image.open("wb") as out:
        out.truncate(total * SECTOR)
        out.write(b"\0" * 446 + protective.ljust(64, b"\0") + b"\x55\xaa")
        out.write(_gpt_header(total, 1, 2, checksum) + table)
        for start, part in ((FIRST, esp), (root_start, root)):
            out.seek(start * SECTOR)
            out.write(part.read_bytes())
        out.seek((total - 33) * SECTOR)
        out.write(table + _gpt_header(total, total - 1, total - 33, checksum))
