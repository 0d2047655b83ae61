"""vm-bhyve on the simulated host: guests whose zvols may change hands."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from skep_helper import vocabulary as v

from skepd.host import HostError

from .storage import Disk, SimStorage
from .table import Table


@dataclass
class SimVmBhyve:
    """datasets: what the policy's `adopt` would name. guests by name; autostart: vm_list. All of it is durable."""

    storage: SimStorage
    datasets: tuple[str, ...] = ()
    system: str = ""
    autostart: tuple[str, ...] = ()
    guests: dict[str, v.VmBhyveGuest] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    """The dataset that a guest's UEFI variables came from, by guest of Skep."""

    def table(self) -> Table:
        return {
            v.ReadVmBhyve: self.read,
            v.AdoptDisk: self.adopt_disk,
            v.AdoptVariables: self.adopt_variables,
        }

    def read(self, request: v.ReadVmBhyve) -> v.VmBhyveReading:
        if not self.datasets:
            raise HostError("rejected", 'the policy names no dataset to adopt from: write e.g. adopt = ["zroot/vm"]')
        return v.VmBhyveReading(
            system=self.system,
            system_file=f"/{self.datasets[0]}/.config/system.conf",
            guests=tuple(guest for _, guest in sorted(self.guests.items())),
            autostart=self.autostart,
        )

    def adopt_disk(self, request: v.AdoptDisk) -> None:
        source, zvol = self._source(request.source.rpartition("/")[0]), request.source.rpartition("/")[2]
        folder = self.storage.folder(request.guest)
        here, there = folder.disks.get(request.disk), next((one for one in source.disks if one.name == zvol), None)
        taken = here is not None and here.adopted == request.source
        if request.undo:
            if here is not None and taken:
                self._put(source, (*source.disks, v.VmBhyveDisk(name=zvol, kind="zvol", size=here.size)))
                del folder.disks[request.disk]
            elif there is None:
                raise HostError("missing", f"disk {request.disk} of guest {request.guest} is not {request.source}")
            return
        if taken:
            return
        if here is not None:
            raise HostError("exists", f"guest {request.guest} has a disk {request.disk} already")
        if source.busy:
            raise HostError("busy", f"guest {source.name} of vm-bhyve runs ({source.busy}): vm stop {source.name}")
        if there is None:
            raise HostError("missing", f"there is no dataset {request.source}")
        folder.disks[request.disk] = Disk(request.disk, there.size, "zvol", "thin", "", adopted=request.source)
        self._put(source, tuple(one for one in source.disks if one is not there))

    def adopt_variables(self, request: v.AdoptVariables) -> None:
        self.storage.folder(request.guest)
        if not self._source(request.source).variables:
            raise HostError("missing", f"there are no UEFI variables in {request.source}")
        self.variables[request.guest] = request.source

    def _source(self, dataset: str) -> v.VmBhyveGuest:
        if dataset.rpartition("/")[0] not in self.datasets:
            raise HostError("rejected", f"{dataset} is not below a dataset that the policy lets Skep adopt from")
        found = next((guest for guest in self.guests.values() if guest.dataset == dataset), None)
        if found is None:
            raise HostError("missing", f"there is no dataset {dataset}")
        return found

    def _put(self, guest: v.VmBhyveGuest, disks: tuple[v.VmBhyveDisk, ...]) -> None:
        self.guests[guest.name] = replace(guest, disks=disks)
