"""bhyve's side of its configuration, written from bhyve_config(5) and the recordings: parse the text, then say what
guest it is. Independent of the renderer, for tests."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from skep_helper.vocabulary.guest import Cpus, DiskDevice, GuestSpec, MediaDevice, NicDevice


def parse(text: str) -> dict[str, str]:
    """As bhyve reads a file: no blanks taken off, comments only at the start of a line, the last setting wins."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        if line.startswith("#") or not line:
            continue
        key, sign, value = line.partition("=")
        assert f"{sign}{value}" > "=", f"bhyve refuses the line {line!r}"
        found[key] = value
    for key, value in found.items():
        assert not any(other.startswith(f"{key}.") for other in found), f"{key} is a value and a node"
        assert "%" not in value
    return found


def devices(settings: dict[str, str]) -> dict[str, dict[str, str]]:
    """Options by DEVICE.FUNCTION of bus 0."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for key, value in settings.items():
        if match := re.fullmatch(r"pci\.0\.(\d+\.\d)\.(.+)", key):
            found[match[1]][match[2]] = value
    return dict(found)


def slot_of(place: str) -> int | None:
    """Of the guest's description; None for a device that every guest has."""
    device, function = (int(part) for part in place.split("."))
    if 4 <= device <= 23 and function == 0:
        return device - 4
    return 20 + 8 * (device - 24) + function if 24 <= device <= 26 else None


def guest(settings: dict[str, str], paths: dict[str, str], taps: dict[str, str], like: GuestSpec) -> GuestSpec:
    """The description that a configuration stands for. paths, taps: names by path and by device. like: for what bhyve
    is not told (digest, profile)."""
    found: dict[str, list[Any]] = {"disks": [], "nics": [], "media": []}
    fixed: dict[str, Any] = {"seed": False, "screen": False, "agent": False}
    through: list[str] = []
    for place, options in sorted(
        devices(settings).items(), key=lambda item: [int(part) for part in item[0].split(".")]
    ):
        slot, kind = slot_of(place), options["device"]
        if kind == "passthru":
            through.append(f"0000:{int(options['bus']):02x}:{int(options['slot']):02x}.{options['func']}")
        elif slot is None:
            name = {"fbuf": "screen", "virtio-console": "agent"}.get(kind, "seed" if place == "3.0" else "")
            fixed.update({name: True} if name else {})
        elif kind in ("virtio-net", "e1000"):
            model = "e1000" if kind == "e1000" else "virtio"
            found["nics"].append(NicDevice(port=taps[options["backend"]], slot=slot, mac=options["mac"], model=model))
        elif kind != "hostbridge":
            _storage(found, slot, kind, options, paths)
    cpus = Cpus(**{name: int(settings[name]) for name in ("sockets", "cores", "threads")})
    assert cpus.sockets * cpus.cores * cpus.threads == int(settings["cpus"])
    assert (settings.get("memory.wired") == "true") == bool(through)
    return GuestSpec(
        name=settings["name"].removeprefix("skep."), digest=like.digest, profile=like.profile, cpus=cpus,
        memory=int(settings["memory.size"].removesuffix("M")) << 20, passthrough=tuple(through),
        local_clock=settings["rtc.use_localtime"] == "true", **fixed,
        **{name: tuple(items) for name, items in found.items()},
    )  # fmt: skip


def _storage(found: dict[str, list[Any]], slot: int, kind: str, options: dict[str, str], paths: dict[str, str]) -> None:
    if kind == "ahci":
        options = {name.removeprefix("port.0."): value for name, value in options.items()}
        if options.get("type") == "cd":
            image, version = paths[options["path"]].split(":")
            found["media"].append(MediaDevice(image=image, version=version, slot=slot))
            return
    model = {"virtio-blk": "virtio", "nvme": "nvme", "ahci": "ahci"}[kind]
    name = paths[options["path"]]
    found["disks"].append(
        DiskDevice(disk=name, slot=slot, model=model, serial=options["ser"], discard="nodelete" not in options)
    )
