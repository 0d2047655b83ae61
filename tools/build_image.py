"""Builds the guest image skep-small: python3 tools/build_image.py --output DIR

DIR/skep-small.qcow2 and DIR/skep-small.raw are made from the packages that apt
knows now and from images/skep-small. If neither has changed since the last
build, that one is kept. Progress goes to standard error; the path of the qcow2
file is the one line on standard output. See images/skep-small/README.md.
"""

import argparse
import fcntl
import hashlib
import os
import sys
import tempfile
from pathlib import Path

from skep_image import boot, disk, packages, rootfs
from skep_image.modules import ModuleTree
from skep_image.steps import BuildError, check_tools, run, step

NAME = "skep-small"
TOOLS = Path(__file__).resolve().parent
SOURCE = TOOLS.parent / "images" / NAME


def source_digest() -> str:
    """Changes when a file of the guest or of this builder does; the README does not count."""
    digest = hashlib.sha256()
    builder = [TOOLS / "build_image.py", *sorted((TOOLS / "skep_image").glob("*.py"))]
    guest = [path for path in sorted(SOURCE.rglob("*")) if path.is_file() and path.suffix != ".md"]
    for path in builder + guest:
        name = path.relative_to(TOOLS.parent)
        digest.update(f"{name} {path.stat().st_mode & 0o100:o} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def package_digest(wanted: list[packages.Package]) -> str:
    lines = (f"{package.file} {package.digest}\n" for package in wanted)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def build(wanted: list[packages.Package], output: Path, work: Path) -> None:
    with step(f"fetch {len(wanted)} packages, {sum(p.size for p in wanted) / disk.MIB:.0f} MiB unless already here"):
        files = packages.fetch(wanted, output / "packages")
    unpacked, root = work / "unpacked", work / "root"
    with step("unpack them"):
        packages.unpack(files, unpacked)
    modules = ModuleTree(unpacked)
    with step(f"put the root file system together, kernel {modules.version}"):
        rootfs.assemble(SOURCE, unpacked, modules, root)
    with step("make the boot file"):
        initramfs = boot.make_initramfs(SOURCE, root, modules, work)
        boot_file = boot.make_boot_file(unpacked, modules, initramfs, work)
    with step("make the disk"):
        disk.make_esp(boot_file, work / "esp.img")
        disk.make_root(root, work / "root.img")
        disk.join(work / "esp.img", work / "root.img", work / "disk.raw")
    with step("compress it"):
        run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", work / "disk.raw", work / "disk.qcow2")
    os.replace(work / "disk.raw", output / f"{NAME}.raw")
    os.replace(work / "disk.qcow2", output / f"{NAME}.qcow2")


def update(output: Path, keep_packages: bool) -> Path:
    """Builds unless the last build is still right; returns the qcow2 file."""
    image, mark = output / f"{NAME}.qcow2", output / f"{NAME}.digest"
    source = source_digest()
    before = mark.read_text().split() if mark.exists() and image.exists() else []
    if keep_packages and before[:1] == [source]:
        sys.stderr.write(f"  {NAME} is built already\n")
        return image
    check_tools()
    with tempfile.TemporaryDirectory(prefix=".build-", dir=output) as folder:
        work = Path(folder)
        with step("ask apt for versions"):
            wanted = packages.resolve(work / "apt")
        digests = [source, package_digest(wanted)]
        if before == digests:
            sys.stderr.write(f"  {NAME} is built already, from the same packages and files\n")
            return image
        # Without the mark a build that is cut short is done again.
        mark.unlink(missing_ok=True)
        build(wanted, output, work)
    mark.write_text("\n".join(digests) + "\n")
    sys.stderr.write(f"  {NAME}: {image.stat().st_size / disk.MIB:.1f} MiB\n")
    return image


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the image and its cache")
    parser.add_argument(
        "--keep-packages", action="store_true", help="keep a finished image even if apt has newer packages by now"
    )
    arguments = parser.parse_args()
    output = arguments.output.resolve()
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Two at a time would write the same files.
        with (output / f"{NAME}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            sys.stdout.write(f"{update(output, arguments.keep_packages)}\n")
    except (BuildError, OSError) as error:
        sys.stderr.write(f"build_image: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
