"""Every key of a vm-bhyve guest, and what a guest of Skep lacks because of it.

Keys as in lib/ and sample-templates/config.sample of vm-bhyve 1.7 and 1.8-devel; N stands for a number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from skepd.model.errors import nearest

from .conf import Conf
from .findings import Finding

KEPT = frozenset(
    {
        "loader", "uefi_vars", "cpu", "cpu_sockets", "cpu_cores", "cpu_threads", "memory", "utctime", "graphics",
        "diskN_type", "diskN_dev", "diskN_name", "diskN_opts", "networkN_type", "networkN_switch", "networkN_mac",
        "networkN_device", "networkN_span", "passthruN", "passthruN_options", "start_slot", "ahci_device_limit",
        "virt_consoleN", "bhyve_options",
    }
)  # fmt: skip
"""Read by vm_bhyve and converted."""
_EMPTY = frozenset(
    {
        # Without meaning for a guest that starts by UEFI.
        "bhyveload_loader", "bhyveload_args", "loader_timeout", "grub_installN", "grub_runN", "grub_run_partition",
        "grub_run_dir", "grub_run_file", "grub_run_no_partition",
        # Used by vm-bhyve when a guest is made or installed, or for its own logs.
        "diskN_size", "zfs_dataset_opts", "zfs_zvol_opts", "install_slot", "graphics_wait", "debug",
        # What every guest of Skep has, or what its profile decides.
        "virt_random", "xhci_mouse", "ignore_bad_msr", "ignore_msr", "networkN_name",
    }
)  # fmt: skip
_LOST_WHEN_SET = {
    "fwcfg": "Skep leaves bhyve's firmware interface as it is",
    "uuid": "the guest gets another UUID, which follows from its name: programs with a licence may ask for it anew",
    "graphics_port": "the screen has no port on the host; it is reached through skep",
    "graphics_listen": "the screen has no address on the host; it is reached through skep",
    "graphics_res": "the screen begins with 1024x768",
    "graphics_vga": "whether the screen is a VGA too is decided by the guest's profile",
    "vnc_password": "this password is not kept: who may use the guest in Skep may see its screen",
    "tags": "tags are not kept",
    "prestart": "this script is not run any more",
    "priority": "the guest runs with ordinary priority",
    "limit_pcpu": "this limit is not kept",
    "limit_rbps": "this limit is not kept",
    "limit_wbps": "this limit is not kept",
    "limit_riops": "this limit is not kept",
    "limit_wiops": "this limit is not kept",
}
_LOST_WHEN_YES = {
    "wired_memory": "Skep wires a guest's memory only when the guest has passed-through devices",
    "sound": "a guest has no sound",
    "nulliso_fix": "there is no empty CD in the guest",
}
_LOST_UNLESS = {
    "hostbridge": (("standard",), "the guest gets bhyve's ordinary host bridge"),
    "comports": (("com1",), "a guest has one serial line, com1"),
    "on_restart": (("restart",), "a guest that reboots is started again"),
    "on_fault": (("shutdown",), "a guest that ends by a fault stays down"),
}
_OF_OTHERS = frozenset({"sound_play", "sound_rec"})
KNOWN = KEPT | _EMPTY | _OF_OTHERS | _LOST_WHEN_SET.keys() | _LOST_WHEN_YES.keys() | _LOST_UNLESS.keys()
_OPTIONS = frozenset({"-w"})
"""Of bhyve_options: what Skep gives where it is needed."""


def lost(conf: Conf) -> Iterator[Finding]:
    """Notes about settings that are not carried over, unknown keys among them."""
    for key, setting in conf.settings.items():
        text = _lost(conf, key, setting.value)
        if text:
            yield Finding(conf.place(key), text)
    for key, line in conf.twice:
        yield Finding(f"{conf.file}:{line}", f"{key} is there twice; the first one counts")


def _lost(conf: Conf, key: str, value: str) -> str:
    general = re.sub(r"(?<=[a-z])[0-9]+(?=_|$)", "N", key)
    if general not in KNOWN:
        hint = nearest(key, sorted(KNOWN))
        return f"vm-bhyve knows no key {key!r:.60}" + (f" ({hint})" if hint.startswith("did") else "")
    if general in _LOST_WHEN_YES and conf.yes(key):
        return f"{key} is not carried over: {_LOST_WHEN_YES[general]}"
    if general in _LOST_WHEN_SET and value:
        return f"{key} is not carried over: {_LOST_WHEN_SET[general]}"
    if general in _LOST_UNLESS and value:
        usual, text = _LOST_UNLESS[general]
        return "" if value in usual else f"{key}={value} is not carried over: {text}"
    if general == "bhyve_options" and not set(value.split()) <= _OPTIONS:
        return f"bhyve_options is not carried over: Skep gives bhyve no options of others ({value:.80})"
    return ""
