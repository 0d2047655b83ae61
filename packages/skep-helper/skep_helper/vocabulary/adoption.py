"""Requests that take guests over from vm-bhyve: what there is to read, and disks that change hands without a copy."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Checked, DatasetName, Name, ShortText, Text, word


@dataclass(frozen=True, kw_only=True)
class ReadVmBhyve(Checked):
    """Answer: VmBhyveReading, of the datasets that the policy's `adopt` names. Changes nothing."""


@dataclass(frozen=True, kw_only=True)
class VmBhyveDisk(Checked):
    """What lies in a guest's dataset or folder and may be a disk. size in bytes."""

    name: ShortText
    kind: word("zvol", "file")  # type: ignore[valid-type]
    size: int


@dataclass(frozen=True, kw_only=True)
class VmBhyveGuest(Checked):
    """folder: where its files are; dataset: of that folder, empty when it is none of its own. text: of NAME.conf.

    variables: whether it has a file of UEFI variables. busy: why it counts as running, empty when it does not.
    suspended: whether its state was saved to be resumed.
    """

    name: ShortText
    folder: ShortText
    dataset: ShortText = ""
    text: Text
    disks: tuple[VmBhyveDisk, ...] = ()
    variables: bool = False
    busy: ShortText = ""
    suspended: bool = False


@dataclass(frozen=True, kw_only=True)
class VmBhyveReading(Checked):
    """system: text of .config/system.conf (switches, datastores), and where it lies. autostart: vm_list of rc.conf."""

    system: Text = ""
    system_file: ShortText = ""
    guests: tuple[VmBhyveGuest, ...] = ()
    autostart: tuple[ShortText, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AdoptDisk(Checked):
    """Make a zvol of a stopped vm-bhyve guest a disk of a guest of Skep, by renaming it; undo: rename it back.

    source: the zvol's dataset, two levels below one of the policy's `adopt`. Snapshots go along. Repeatable. Nothing
    else of vm-bhyve's is touched.
    """

    guest: Name
    disk: Name
    source: DatasetName
    undo: bool = False


@dataclass(frozen=True, kw_only=True)
class AdoptVariables(Checked):
    """Copy the UEFI variables of a vm-bhyve guest (its dataset: source) into the guest's folder. Repeatable."""

    guest: Name
    source: DatasetName


ADOPTION_VERBS: tuple[type, ...] = (ReadVmBhyve, AdoptDisk, AdoptVariables)
