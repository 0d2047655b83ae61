"""Run the suites that need real OpenZFS on Debian's cloud kernel, in a guest of QEMU: ``make test-zfs``.

The module is built on this machine, from Debian's zfs-dkms, against the headers of that kernel, and kept below
build/. The guest is the kernel and one initramfs with Python, pytest, OpenZFS's tools, udev (which makes /dev/zvol),
what the helper starts, and this repository; its pools lie on virtio disks. Nothing is installed for it, and
apt's lists of this machine are not touched. The guest is emulated where KVM is missing or broken.

Exit status: pytest's in the guest; 70 when the guest did not come to its end, 69 when a part is missing here.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kernel_guest import contents, machine, zfs
from kernel_guest.archive import Archive
from kernel_guest.contents import ROOT

TOOLS = (
    "busybox", "ip", "nft", "dnsmasq", "sysctl", "qemu-img", "mkfs.ext4", "ssh-keygen", "zstd", "xorrisofs",
)  # fmt: skip
MODULE_FOLDERS = (
    "kernel/fs/isofs", "kernel/drivers/block", "kernel/drivers/virtio", "kernel/drivers/md", "kernel/lib",
    "kernel/crypto", "kernel/arch/x86/crypto", "kernel/net", "kernel/drivers/net",
)  # fmt: skip
SUITE = ("tests/zfs", "tests/conformance/test_conformance_storage.py")
DISKS, DISK_SIZE, MEMORY = 3, 8 << 30, 4096

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
mount -t tmpfs -o size=1500m tmp /tmp; chmod 1777 /tmp; ip link set lo up
echo skep-booted
echo /sbin/modprobe > /proc/sys/kernel/modprobe
ln -s /proc/mounts /etc/mtab; ln -s /proc/self/fd /dev/fd
modprobe virtio_pci; modprobe virtio_blk; modprobe zfs zfs_arc_max=536870912 || poweroff -f
/lib/systemd/systemd-udevd --daemon
udevadm trigger --action=add; udevadm settle
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=@PATHS@:/packages PYTHONHOME=@HOME@
export TERM=dumb LC_ALL=C HOME=/tmp SKEP_ZFS_DISKS="@DISKS@"
zpool create -f -m /conformance -O volmode=dev -O compression=off conformance @SPARE@
export SKEP_CONFORMANCE=linux SKEP_CONFORMANCE_POOL=/conformance/pool
cd /repository
echo "$(uname -r), OpenZFS $(cat /sys/module/zfs/version)"
@PYTHON@ @ARGUMENTS@
echo "skep-result $?"
poweroff -f
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "test-zfs", help="where what was built is kept")
    parser.add_argument("--timeout", type=int, default=5400, help="seconds the guest may take (default 5400)")
    parser.add_argument("--program", help="run this file of the repository in the guest instead of pytest")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest (or the program), after --")
    options = parser.parse_args()
    needed = (*TOOLS, *zfs.COMPILER, "strip", "qemu-system-x86_64", "apt-get", "dpkg-deb")
    if not contents.require(needed, "test-zfs"):
        return 69
    options.cache.mkdir(parents=True, exist_ok=True)
    parts = zfs.fetch(options.cache.resolve())
    with tempfile.TemporaryDirectory(prefix="guest-", dir=options.cache) as folder:
        archive = Path(folder) / "initramfs"
        build(archive, parts, command(options.program, options.pytest))
        guest = machine.Guest(kernel=parts.kernel, archive=archive, memory=MEMORY, disks=list(disks(Path(folder))))
        return machine.run(guest, "test-zfs", options.timeout, options.cache)


def command(program: str | None, arguments: list[str]) -> str:
    """What Python runs in the guest."""
    if program:
        return shlex.join([program, *arguments])
    return shlex.join(["-m", "pytest", "-p", "no:cacheprovider", "-c", "/repository/pytest.ini", *(arguments or SUITE)])


def disks(folder: Path) -> Iterator[Path]:
    """Empty, sparse."""
    for number in range(DISKS):
        path = folder / f"disk{number}"
        with path.open("wb") as stream:
            stream.truncate(DISK_SIZE)
        yield path


def build(path: Path, parts: zfs.Parts, arguments: str) -> None:
    archive = Archive(path)
    packages = ("skep-helper", "skepd", "skep")
    words = {
        "@ARGUMENTS@": arguments,
        "@PATHS@": ":".join(f"/repository/packages/{package}" for package in packages),
        "@DISKS@": " ".join(f"/dev/vd{letter}" for letter in "abcdefgh"[: DISKS - 1]),
        "@SPARE@": f"/dev/vd{'abcdefgh'[DISKS - 1]}",
    }
    init = INIT
    for word, value in words.items():
        init = init.replace(word, value)
    # Before all else, because of two files of one name the first is taken.
    zfs.add(archive, parts)
    contents.add_base(archive, init, TOOLS)
    for package in packages:
        contents.add_repository(archive, (ROOT / "packages" / package).rglob("*.py"))
    for folder in ("tests", "bench"):
        contents.add_repository(archive, (file for file in (ROOT / folder).rglob("*") if wanted(file)))
    contents.add_modules(archive, parts.modules, MODULE_FOLDERS)
    archive.close()


def wanted(file: Path) -> bool:
    return file.is_file() and file.suffix in (".py", ".txt", ".json", ".toml") and "__pycache__" not in file.parts


if __name__ == "__main__":
    sys.exit(main())
