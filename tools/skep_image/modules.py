"""Choosing kernel modules, and the indices modprobe needs for them."""

import lzma
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from skep_image.steps import BuildError, run

# Drivers of disks, buses and network cards: the initramfs has them too. Absent
# ones are skipped, since kernels differ in what they build in or leave out (the
# cloud kernel of Debian 12 has neither AHCI nor e1000).
DEVICES = (
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "virtio_console",
    "virtio_rng",
    "virtio_balloon",
    "sd_mod",
    "sr_mod",
    "nvme",
    "ahci",
    "ata_piix",
    "e1000",
    "e1000e",
    "button",
    "qemu_fw_cfg",
)
OTHERS = (
    "evdev",
    "isofs",
    "vfat",
    "nls_cp437",
    "nls_iso8859-1",
    "nls_ascii",
    "nls_utf8",
    "8021q",
    "bridge",
    "dummy",
    "veth",
    "vxlan",
    "tun",
    "efivarfs",
    "virtio_gpu",
    "virtio_input",
    "i6300esb",
    "vmxnet3",
    "virtiofs",
    "9pnet_virtio",
    "9p",
    "vsock",
    "vmw_vsock_virtio_transport",
)
REQUIRED = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "ext4", "isofs")


def _name(path: Path) -> str:
    return re.sub(r"\.ko(\.\w+)?$", "", path.name).replace("-", "_")


def _content(path: Path) -> bytes:
    """The module as the kernel wants it: not packed."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        unpacked = path.with_suffix("")
        run("zstd", "-q", "-d", "-f", path, "-o", unpacked)
        return unpacked.read_bytes()
    return path.read_bytes()


class ModuleTree:
    """The modules of one unpacked kernel package."""

    def __init__(self, unpacked: Path) -> None:
        bases = [base for base in unpacked.glob("**/lib/modules/*") if (base / "kernel").is_dir()]
        if len(bases) != 1:
            raise BuildError(f"expected one kernel among the packages, found {len(bases)}")
        self.base = bases[0]
        self.version = self.base.name
        self.files = {_name(path): path for path in self.base.glob("kernel/**/*.ko*")}
        listing = self.base / "modules.builtin"
        self.builtin = {_name(Path(line)) for line in listing.read_text().split()}
        for name in REQUIRED:
            if name not in self.files and name not in self.builtin:
                raise BuildError(f"kernel {self.version} has no {name}; skep-small cannot do without")

    def closure(self, names: Iterable[str]) -> dict[str, bytes]:
        """Name -> content of `names` and everything they depend on, as far as this kernel has them."""
        chosen: dict[str, bytes] = {}
        todo = [name.replace("-", "_") for name in names]
        while todo:
            name = todo.pop()
            if name in chosen or name not in self.files:
                continue
            chosen[name] = _content(self.files[name])
            depends = re.search(rb"\0depends=([^\0]*)\0", chosen[name])
            if depends:
                todo += [part.replace("-", "_") for part in depends[1].decode().split(",") if part]
        return chosen

    def install(self, names: Iterable[str], root: Path, busybox: Path) -> None:
        """Writes the modules and their indices below `root`."""
        target = root / "usr/lib/modules" / self.version
        for name, content in self.closure(names).items():
            # Flat: where a module lies matters to nobody but the index.
            path = target / "kernel" / f"{name}.ko"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        for index in ("modules.builtin", "modules.order"):
            if (self.base / index).exists():
                shutil.copy(self.base / index, target / index)
        run(busybox, "depmod", "-b", root, self.version)
