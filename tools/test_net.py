"""Run the network suite on Debian's cloud kernel, in a guest of QEMU: ``make test-net``.

That kernel has what others lack: VLAN devices, bridges that know VLANs, connection tracking in the bridge family.
The guest is the kernel and one initramfs with Python, pytest, nft, ip, dnsmasq of this machine and this repository's
network suite; nothing is installed, no root is needed, no network is used but apt's for the kernel package. The
guest runs without KVM, which may be missing or broken.

Exit status: pytest's in the guest; 70 when the guest did not come to its end, 69 when a part is missing here.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("ip", "nft", "dnsmasq", "sysctl", "busybox")
PYTHON_PACKAGES = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
MODULE_FOLDERS = (
    "kernel/net/8021q", "kernel/net/802", "kernel/net/bridge", "kernel/net/llc", "kernel/net/netfilter",
    "kernel/net/ipv4", "kernel/net/ipv6", "kernel/net/packet", "kernel/drivers/net", "kernel/lib", "kernel/crypto",
    "kernel/arch/x86/crypto",
)  # fmt: skip
SEARCH = "/usr/sbin:/usr/bin:/sbin:/bin"
STANDARD_LIBRARY_LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "site-packages", "__pycache__"}

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
mount -t tmpfs tmp /tmp; chmod 1777 /tmp; ip link set lo up
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
PYTEST_INI = "[pytest]\naddopts = -q --color=no\nmarkers = real: needs root and real kernel parts\n"


class Archive:
    """A cpio archive in the form that the kernel unpacks (newc)."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._names: set[str] = set()

    def add(self, name: str, mode: int, data: bytes = b"") -> None:
        """A file, folder or link; its folders are added when they are not there. Once for each name."""
        name = name.strip("/")
        if name in self._names:
            return
        if "/" in name:
            self.add(name.rpartition("/")[0], stat.S_IFDIR | 0o755)
        self._names.add(name)
        self._write(name, mode, data)

    def add_file(self, path: Path, name: str | None = None) -> None:
        """A file of this machine, under its own name or another; what a link points to, not the link."""
        mode = stat.S_IFREG | (0o755 if os.access(path, os.X_OK) else 0o644)
        self.add(name or str(path), mode, path.read_bytes())

    def close(self) -> None:
        self._write("TRAILER!!!", 0, b"")
        self._stream.close()

    def _write(self, name: str, mode: int, data: bytes) -> None:
        fields = (len(self._names), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        self._stream.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skep" / "test-net"
    parser.add_argument("--cache", type=Path, default=cache, help="where the kernel package is kept")
    parser.add_argument("--timeout", type=int, default=1800, help="seconds the guest may take (default 1800)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    missing = [tool for tool in (*TOOLS, "qemu-system-x86_64", "dpkg-deb") if find(tool) is None]
    if missing:
        print(f"test-net needs {', '.join(missing)}: install the packages that hold them", file=sys.stderr)
        return 69
    options.cache.mkdir(parents=True, exist_ok=True)
    kernel, modules = fetch_kernel(options.cache)
    archive = options.cache / f"initramfs-{os.getpid()}"
    try:
        build(archive, modules, options.pytest)
        return run_guest(kernel, archive, options.timeout)
    finally:
        archive.unlink(missing_ok=True)


def find(tool: str) -> str | None:
    return shutil.which(tool, path=SEARCH)


def fetch_kernel(cache: Path) -> tuple[Path, Path]:
    """(kernel, folder of its modules) of Debian's current cloud kernel, downloaded once for each version."""
    listing = subprocess.run(
        ["apt-cache", "depends", "linux-image-cloud-amd64"], capture_output=True, text=True, check=True
    ).stdout
    found = re.search(r"Depends: (linux-image-(\S+))", listing)
    if found is None:
        raise SystemExit("test-net: apt knows no linux-image-cloud-amd64: run apt-get update")
    package, version = found.groups()
    folder = cache / version
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        print(f"test-net: downloading {package}", flush=True)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", next(folder.glob("*.deb")), folder / "root"], check=True)
        subprocess.run(["busybox", "depmod", "-b", folder / "root", version], check=True)
        (folder / "done").touch()
    return folder / "root" / "boot" / f"vmlinuz-{version}", folder / "root" / "lib" / "modules" / version


def build(path: Path, modules: Path, arguments: list[str]) -> None:
    archive = Archive(path)
    for folder in ("proc", "sys", "dev", "run", "tmp", "root", "var/lib/misc", "etc/iproute2"):
        archive.add(folder, stat.S_IFDIR | 0o755)
    python = Path(os.path.realpath(sys.executable))
    tests = sorted([*(ROOT / "tests" / "net").glob("*.py"), *(ROOT / "tests" / "linux").glob("*network*.py")])
    suite = arguments or [str(test.relative_to(ROOT)) for test in tests if test.name.startswith("test_")]
    script = INIT.replace("@PYTHON@", str(python)).replace("@ARGUMENTS@", " ".join(suite))
    archive.add("init", stat.S_IFREG | 0o755, script.replace("@HOME@", sys.base_prefix).encode())
    archive.add("repository/pytest.ini", stat.S_IFREG | 0o644, PYTEST_INI.encode())
    archive.add("etc/passwd", stat.S_IFREG | 0o644, b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    archive.add("etc/group", stat.S_IFREG | 0o644, b"root:x:0:\nnogroup:x:65534:\nnobody:x:65534:\n")
    for file in (*tests, *(ROOT / "packages" / "skep-helper" / "skep_helper").rglob("*.py")):
        archive.add_file(file, f"repository/{file.relative_to(ROOT)}")
    programs = [python, *(Path(str(find(tool))) for tool in TOOLS)]
    for program in programs:
        archive.add_file(program, f"bin/{program.name}" if program.name == "busybox" else None)
    archive.add("sbin/modprobe", stat.S_IFLNK | 0o777, b"/bin/busybox")
    extensions = list(add_python(archive))
    for library in libraries([*programs, *extensions]):
        archive.add_file(library)
    add_modules(archive, modules)
    archive.close()


def add_python(archive: Archive) -> Iterable[Path]:
    """The standard library and pytest; yields what is compiled."""
    library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    for folder, names, files in os.walk(library):
        names[:] = [name for name in names if name not in STANDARD_LIBRARY_LEFT_OUT and "config-" not in name]
        for file in map(Path(folder).joinpath, files):
            if file.suffix in (".py", ".so"):
                archive.add_file(file)
                if file.suffix == ".so":
                    yield file
    packages = Path(sysconfig.get_path("purelib"))
    for package in PYTHON_PACKAGES:
        for file in (packages / f"{package}.py", *(packages / package).rglob("*.py")):
            if not file.exists():
                continue
            archive.add_file(file, f"packages/{file.relative_to(packages)}")


def libraries(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries that these need, and the loader."""
    found: set[Path] = set()
    for program in programs:
        done = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
        found |= {Path(path) for path in re.findall(r"(/\S+) \(0x", done.stdout)}
    return found


def add_modules(archive: Archive, modules: Path) -> None:
    to = f"lib/modules/{modules.name}"
    for file in modules.glob("modules.*"):
        archive.add_file(file, f"{to}/{file.name}")
    for folder in MODULE_FOLDERS:
        for file in (modules / folder).rglob("*.ko*"):
            if "wireless" not in file.parts and "ethernet" not in file.parts:
                archive.add_file(file, f"{to}/{file.relative_to(modules)}")


def run_guest(kernel: Path, archive: Path, timeout: int) -> int:
    """Boot, print what the guest prints, and return pytest's status."""
    command = [
        str(find("qemu-system-x86_64")), "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536",
        "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio", "-kernel", str(kernel),
        "-initrd", str(archive), "-append", "console=ttyS0 panic=-1 quiet rdinit=/init mitigations=off",
    ]  # fmt: skip
    print("test-net: starting the guest (no KVM: this takes some minutes)", flush=True)
    status = 70
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as guest:
        try:
            for line in guest.stdout or ():
                sys.stdout.write(line)
                sys.stdout.flush()
                found = re.search(r"skep-result (\d+)", line)
                status = int(found.group(1)) if found else status
            guest.wait(timeout)
        finally:
            guest.kill()
    return status


if __name__ == "__main__":
    sys.exit(main())
