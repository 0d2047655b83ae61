"""Names, managers and references to objects."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Manager(StrEnum):
    """Who owns an object. Only `skep apply` of site.toml prunes SITE objects; others change theirs only."""

    SITE = "site"
    USER = "user"
    OPENSTACK = "openstack"


class Kind(StrEnum):
    """Kinds of objects that have a definition of their own."""

    IMAGE = "image"
    FILTER = "filter"
    NETWORK = "network"
    ROUTER = "router"
    PORT = "port"
    GUEST = "guest"


@dataclass(frozen=True, order=True)
class Ref:
    """A reference to an object, written ``kind/name``."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"
