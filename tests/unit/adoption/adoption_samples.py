"""Guests of vm-bhyve as its own templates make them, in words of ours: one for each template that it ships."""

from __future__ import annotations

from skep_helper.vocabulary import VmBhyveDisk, VmBhyveGuest, VmBhyveReading

GIB = 1 << 30
MAC = "58:9c:fc:0{number}:00:0{number}"


def conf(*lines: str, disk: str = "disk0", dev: str = "sparse-zvol", model: str = "virtio-blk", cards: int = 1) -> str:
    """A configuration with one disk and cards on the switch `public`, as `vm create` leaves it behind."""
    found = [*lines, f'disk0_type="{model}"', f'disk0_name="{disk}"']
    found += [f'disk0_dev="{dev}"'] if dev else []
    for number in range(cards):
        found += [f'network{number}_switch="public"', f'network{number}_mac="{MAC.format(number=number + 1)}"']
        found += [] if any(line.startswith(f"network{number}_type") for line in lines) else [_card(number)]
    return "\n".join([*found, 'uuid="0f6a3a1e-0000-11ee-8000-589cfc000001"', ""])


def _card(number: int) -> str:
    return f'network{number}_type="virtio-net"'


UEFI, GRUB, LOAD = 'loader="uefi"', 'loader="grub"', 'loader="bhyveload"'
SMALL = ("cpu=1", "memory=256M")
FILE = {"disk": "disk0.img", "dev": ""}
TEMPLATES = {
    # Templates whose guests start by UEFI.
    "linux-zvol": conf(UEFI, 'cpu="1"', 'memory="1G"', '#graphics="yes"'),
    "linux": conf(UEFI, 'cpu="1"', 'memory="1G"', **FILE),
    "dragonfly": conf("# needs AHCI", UEFI, 'graphics="yes"', 'graphics_wait="no"', "cpu=1", "memory=4G",
                      model="ahci-hd", **FILE),
    "openbsd": conf(UEFI, "cpu=1", "memory=512M", 'bhyve_options="-w"', 'graphics="yes"', 'xhci_mouse="yes"',
                    'graphics_res="1600x900"', 'graphics_wait="no"', **FILE),
    "windows": conf(UEFI, 'graphics="yes"', 'xhci_mouse="yes"', "cpu=2", "memory=2G", 'ahci_device_limit="8"',
                    'network0_type="e1000"', 'utctime="no"', model="ahci-hd", **FILE),
    # And those whose guests do not.
    "default": conf(LOAD, *SMALL, **FILE),
    "freebsd-zvol": conf(LOAD, *SMALL),
    "linux-grub": conf(GRUB, 'cpu="1"', 'memory="1G"', **FILE),
    "linux-grub-zvol": conf(GRUB, 'cpu="1"', 'memory="1G"'),
    "alpine": conf(GRUB, "cpu=1", "memory=512M", 'grub_install0="linux /boot/vmlinuz root=/dev/vda3"',
                   'grub_run0="linux /boot/vmlinuz"', 'grub_run1="initrd /boot/initramfs"', **FILE),
    "arch": conf(GRUB, "cpu=1", "memory=512M", 'grub_install0="linux /arch/vmlinuz ro"', **FILE),
    "debian": conf(GRUB, "cpu=1", "memory=512M", 'grub_run_partition="1"', 'grub_run_dir="/boot/grub"',
                   model="ahci-hd", **FILE),
    "gentoo": conf(GRUB, "cpu=1", "memory=512MB", 'grub_run0="set root=(hd0,gpt2)"', 'grub_run2="configfile"', **FILE),
    "ubuntu": conf(GRUB, "cpu=1", "memory=1024M", **FILE),
    "netbsd": conf(GRUB, *SMALL, 'grub_run0="knetbsd -h -r dk0 /netbsd"', **FILE),
    "resflash": conf(GRUB, *SMALL, 'grub_run_partition="openbsd4"', 'bhyve_options="-w"', **FILE),
}  # fmt: skip
BY_UEFI = ("linux-zvol", "linux", "dragonfly", "openbsd", "windows")
SYSTEM = 'switch_list="public"\ntype_public="standard"\nports_public="igb0"\n'


def foreign(name: str, text: str, *, zvols: tuple[str, ...] = ("disk0",), **fields: object) -> VmBhyveGuest:
    """A stopped guest in zroot/vm."""
    values: dict[str, object] = {
        "folder": f"/zroot/vm/{name}", "dataset": f"zroot/vm/{name}",
        "disks": tuple(VmBhyveDisk(name=zvol, kind="zvol", size=20 * GIB) for zvol in zvols), **fields,
    }  # fmt: skip
    return VmBhyveGuest(name=name, text=text, **values)  # type: ignore[arg-type]


def as_zvol(text: str) -> str:
    """The same guest once its file has been made a zvol, as the finding says."""
    return text.replace('disk0_name="disk0.img"', 'disk0_name="disk0"\ndisk0_dev="sparse-zvol"')


def reading(*guests: VmBhyveGuest, system: str = SYSTEM, autostart: tuple[str, ...] = ()) -> VmBhyveReading:
    return VmBhyveReading(
        system=system, system_file="/zroot/vm/.config/system.conf", guests=guests, autostart=autostart
    )
