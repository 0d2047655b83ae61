"""Small JSON files that root writes beside the data, and reads again as what it wrote."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TypeVar

from skep_helper.handlers import Failure
from skep_helper.paths import Folder


@dataclass(frozen=True, kw_only=True)
class DiskRecord:
    """What a disk was made from. image: NAME:VERSION or empty. linked: whether it reads through to the image."""

    format: str
    edition: str
    image: str = ""
    linked: bool = False


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """Of a published image, or (digest empty) of one that is being written. size: virtual, in bytes."""

    format: str
    size: int
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class SnapshotRecord:
    """Its presence makes a snapshot exist. created: seconds since 1970. vars: whether UEFI variables are kept."""

    created: float
    disks: tuple[str, ...]
    frozen: bool = False
    vars: bool = False


@dataclass(frozen=True, kw_only=True)
class SeedRecord:
    digest: str


@dataclass(frozen=True, kw_only=True)
class RollbackRecord:
    """A rollback to this snapshot is under way and will be finished, whatever happens to the helper."""

    snapshot: str


Record = TypeVar("Record", DiskRecord, ImageRecord, SnapshotRecord, SeedRecord, RollbackRecord)


def write(folder: Folder, name: str, record: object, *, durable: bool = True) -> None:
    """durable: as in Folder.write."""
    folder.write(name, json.dumps(dataclasses.asdict(record)).encode(), durable=durable)  # type: ignore[call-overload]


def read(folder: Folder, name: str, kind: type[Record]) -> Record | None:
    """None when there is none; raises Failure when it is not what this version writes."""
    try:
        data = json.loads(folder.read(name))
        if isinstance(data.get("disks"), list):
            data["disks"] = tuple(data["disks"])
        return kind(**data)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise Failure("failed", f"{folder.shown(name)} is damaged ({error}); see the chapter on recovery") from None
