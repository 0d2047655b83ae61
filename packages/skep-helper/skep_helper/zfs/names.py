"""How things are called in the pool.

    DATASET                          the policy's, mounted at its pool folder; the administrator's properties hold
    DATASET/guests/GUEST             file system: definition/, uefi-vars.fd, seed.iso, ... (as in a pool of files)
    DATASET/guests/GUEST/DISK        volume
    DATASET/guests/GUEST@skep-NAME   snapshot NAME, and the same on every disk
    DATASET/images/IMAGE:VERSION     volume with one held snapshot, @skep, which disks are clones of
    DATASET/incoming/IMAGE:VERSION   an image that is being written: a volume, or a folder of this name for qcow2
    DATASET/trash/KEY/GUEST          a guest in the trash
    DATASET/trash/KEY/GUEST.disks/DISK

Skep's names have no dots, so what is half made or half removed gets one: DISK.new, KEY.doomed. A version may hold
"+" and "~", which datasets may not; they are written _p and _t ("_" is in no name).
"""

from __future__ import annotations

from ..policy import Policy
from ..vocabulary import Rejected

GUESTS, IMAGES, INCOMING, TRASH = AREAS = ("guests", "images", "incoming", "trash")
SEALED = "skep"
"""The held snapshot of an image, and the tag of its hold."""
SNAPSHOT, COPY = "skep-", "skep.copy-"
"""How the names of Skep's own snapshots begin: those that were asked for, and what a disk is cloned from."""
NEW, DOOMED, DISKS = ".new", ".doomed", ".disks"
LONGEST = 255
_ESCAPES = (("+", "_p"), ("~", "_t"))


def dataset(policy: Policy, *parts: str) -> str:
    """Below the policy's dataset. Raises Rejected for a name that is longer than any dataset's."""
    name = "/".join((policy.dataset, *parts))
    if len(name) > LONGEST:
        raise Rejected(f"{name} has {len(name)} characters, more than the {LONGEST} of a dataset; choose shorter names")
    return name


def guest(policy: Policy, name: str) -> str:
    return dataset(policy, GUESTS, name)


def disk(policy: Policy, guest: str, name: str) -> str:
    return dataset(policy, GUESTS, guest, name)


def image(policy: Policy, name: str, version: str, area: str = IMAGES) -> str:
    return dataset(policy, area, image_leaf(name, version))


def sealed(policy: Policy, name: str, version: str) -> str:
    """The snapshot that an image is."""
    return f"{image(policy, name, version)}@{SEALED}"


def image_leaf(name: str, version: str) -> str:
    for plain, escape in _ESCAPES:
        version = version.replace(plain, escape)
    return f"{name}:{version}"


def image_of(leaf: str) -> tuple[str, str]:
    """The inverse of image_leaf."""
    name, _, version = leaf.partition(":")
    for plain, escape in _ESCAPES:
        version = version.replace(escape, plain)
    return name, version


def snapshot(dataset: str, name: str) -> str:
    return f"{dataset}@{SNAPSHOT}{name}"
