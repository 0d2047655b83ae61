"""How objects are, as plain JSON: the observed side of every view."""

from __future__ import annotations

from typing import Any

from skep_helper.vocabulary import FolderReading, GuestReading, Rejected

from skepd.model.desired import Desired
from skepd.model.macs import leg_mac, mac_of
from skepd.model.objects import Filter, Guest, Image, Network, Object, Port, Router
from skepd.plan.cache import Cache
from skepd.plan.observed import Observed
from skepd.plan.translation import Translation

ALIVE = ("running", "paused", "stopping")


class Status:
    """Statuses of one reading of the host."""

    def __init__(self, desired: Desired, observed: Observed, cache: Cache) -> None:
        self._desired, self._observed = desired, observed
        self._translation = Translation(desired, cache)

    def of(self, value: Object) -> dict[str, Any]:
        if isinstance(value, Guest):
            return self._guest(value)
        if isinstance(value, Port):
            return self._port(value)
        if isinstance(value, Network):
            return self._network(value)
        if isinstance(value, Router):
            return self._router(value)
        if isinstance(value, Image):
            return self._image(value)
        return self._filter(value)

    def _guest(self, guest: Guest) -> dict[str, Any]:
        reading = self._observed.guest_of.get(guest.name)
        folder = self._observed.folder_of.get(guest.name)
        ports = [self._desired.ports[nic.port] for nic in guest.nics if nic.port in self._desired.ports]
        return {
            **_running(reading),
            "addresses": [address for port in ports for address in port.addresses],
            "networks": [port.network for port in ports],
            "restart_pending": self._restart_pending(guest, reading),
            "disks": _disks(folder),
            "snapshots": _snapshots(folder),
            "folder": folder is not None,
        }

    def _restart_pending(self, guest: Guest, reading: GuestReading | None) -> bool:
        if reading is None or reading.state not in ALIVE:
            return False
        try:
            return self._translation.guest(guest.name).digest != reading.digest
        except Rejected:
            return False

    def _port(self, port: Port) -> dict[str, Any]:
        reading = self._observed.port_of.get(port.name)
        there = {"interface": reading.interface, "up": reading.up} if reading else {}
        return {"state": "present" if reading else "missing", "mac": mac_of(port), **there}

    def _network(self, network: Network) -> dict[str, Any]:
        reading = self._observed.network_of.get(network.name)
        ports = sorted(port.name for port in self._desired.ports.values() if port.network == network.name)
        return {**_stack(reading), "ports": ports}

    def _router(self, router: Router) -> dict[str, Any]:
        macs = {leg.network: leg_mac(router, leg) for leg in router.legs}
        return {**_stack(self._observed.router_of.get(router.name)), "macs": macs}

    def _image(self, image: Image) -> dict[str, Any]:
        reading = self._observed.image_of.get((image.name, image.version))
        if reading is None:
            return {"state": "missing"}
        return {
            "state": "present",
            "format": reading.format,
            "size": reading.size,
            "digest": reading.digest,
            "users": reading.users,
        }

    def _filter(self, value: Filter) -> dict[str, Any]:
        members = sorted(port.name for port in self._desired.ports.values() if value.name in port.filters)
        return {"state": "present", "ports": members}


def _running(reading: GuestReading | None) -> dict[str, Any]:
    if reading is None:
        return {"state": "stopped"}
    plain = {
        "state": reading.state,
        "pid": reading.pid or None,
        "started": reading.started or None,
        "ended": reading.ended or None,
        "ending": reading.ending or None,
        "reboots": reading.reboots,
        "accelerator": reading.accelerator or None,
        "message": reading.message or None,
    }
    return {key: value for key, value in plain.items() if value is not None}


def _disks(folder: FolderReading | None) -> dict[str, Any]:
    if folder is None:
        return {}
    return {
        disk.disk: {
            "format": disk.format,
            "size": disk.size,
            "allocated": disk.allocated,
            "edition": disk.edition,
            "image": disk.image,
        }
        for disk in folder.disks
    }


def _snapshots(folder: FolderReading | None) -> list[dict[str, Any]]:
    if folder is None:
        return []
    return [
        {"name": one.snapshot, "created": one.created, "frozen": one.frozen, "disks": list(one.disks)}
        for one in folder.snapshots
    ]


def _stack(reading: Any) -> dict[str, Any]:
    if reading is None:
        return {"state": "missing"}
    if reading.missing:
        return {"state": "damaged", "missing": reading.missing}
    return {"state": "present"}
