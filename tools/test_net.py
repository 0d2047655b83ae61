"""Run the network suite on Debian's cloud kernel, in a guest of QEMU: ``make test-net``.

That kernel has what others lack: VLAN devices, bridges that know VLANs, connection tracking in the bridge family.
The guest is the kernel and one initramfs with Python, pytest, nft, ip, dnsmasq of this machine and this repository's
network suite; nothing is installed, no root is needed, no network is used but apt's for the kernel package. The
guest is emulated where KVM is missing or broken.

Exit status: pytest's in the guest; 70 when the guest did not come to its end, 69 when a part is missing here.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from kernel_guest import contents, machine
from kernel_guest.archive import Archive
from kernel_guest.contents import ROOT, find
from kernel_guest.packages import Apt

TOOLS = ("ip", "nft", "dnsmasq", "sysctl", "busybox")
MODULE_FOLDERS = (
    "kernel/net/8021q", "kernel/net/802", "kernel/net/bridge", "kernel/net/llc", "kernel/net/netfilter",
    "kernel/net/ipv4", "kernel/net/ipv6", "kernel/net/packet", "kernel/drivers/net", "kernel/lib", "kernel/crypto",
    "kernel/arch/x86/crypto",
)  # fmt: skip

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
mount -t tmpfs tmp /tmp; chmod 1777 /tmp; ip link set lo up
echo skep-booted
echo /sbin/modprobe > /proc/sys/kernel/modprobe
modprobe tun; modprobe af_packet
export PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=/repository/packages/skep-helper:/packages PYTHONHOME=@HOME@
export PYTHONDONTWRITEBYTECODE=1 TERM=dumb LC_ALL=C HOME=/tmp
cd /repository
uname -r
@PYTHON@ -m pytest -p no:cacheprovider -c /repository/pytest.ini @ARGUMENTS@
echo "skep-result $?"
poweroff -f
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skep" / "test-net"
    parser.add_argument("--cache", type=Path, default=cache, help="where the kernel package is kept")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds the guest may take (default 1800)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    if not contents.require((*TOOLS, "qemu-system-x86_64", "dpkg-deb"), "test-net"):
        return 69
    options.cache.mkdir(parents=True, exist_ok=True)
    kernel, modules = fetch_kernel(options.cache)
    archive = options.cache / f"initramfs-{os.getpid()}"
    try:
        build(archive, modules, options.pytest)
        return machine.run(machine.Guest(kernel=kernel, archive=archive), "test-net", options.timeout, options.cache)
    finally:
        archive.unlink(missing_ok=True)


def fetch_kernel(cache: Path) -> tuple[Path, Path]:
    """(kernel, folder of its modules) of Debian's current cloud kernel, downloaded once for each version."""
    apt = Apt()
    release = apt.kernel()
    folder = cache / release
    if not (folder / "done").exists():
        apt.unpack([f"linux-image-{release}"], folder / "root")
        subprocess.run([str(find("busybox")), "depmod", "-b", folder / "root", release], check=True)
        (folder / "done").touch()
    return folder / "root" / "boot" / f"vmlinuz-{release}", folder / "root" / "lib" / "modules" / release


def build(path: Path, modules: Path, arguments: list[str]) -> None:
    archive = Archive(path)
    tests = sorted([*(ROOT / "tests" / "net").glob("*.py"), *(ROOT / "tests" / "linux").glob("*network*.py")])
    suite = arguments or [str(test.relative_to(ROOT)) for test in tests if test.name.startswith("test_")]
    contents.add_base(archive, INIT.replace("@ARGUMENTS@", shlex.join(suite)), TOOLS)
    contents.add_repository(archive, [*tests, *(ROOT / "packages" / "skep-helper" / "skep_helper").rglob("*.py")])
    contents.add_modules(archive, modules, MODULE_FOLDERS)
    archive.close()


if __name__ == "__main__":
    sys.exit(main())
