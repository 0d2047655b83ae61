"""What is: one reading of the host, in bulk."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from skep_helper.vocabulary import (
    FolderReading,
    GuestReading,
    ImageReading,
    NetworkReading,
    ReadGuests,
    ReadNetworks,
    ReadStorage,
    StorageReading,
)
from skep_helper.vocabulary.network import PortReading, StackReading

READINGS = (ReadStorage(), ReadNetworks(), ReadGuests())
"""The requests whose answers `Observed.of` takes, in this order: one round trip."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The three bulk readings of the helper, and tables by name over them (made once, when first asked for)."""

    storage: StorageReading = field(default_factory=StorageReading)
    networks: NetworkReading = field(default_factory=NetworkReading)
    guests: tuple[GuestReading, ...] = ()

    @classmethod
    def of(cls, answers: tuple[Any, ...]) -> Observed:
        """From the answers to READINGS."""
        storage, networks, guests = answers
        return cls(storage=storage, networks=networks, guests=tuple(guests))

    @cached_property
    def folder_of(self) -> dict[str, FolderReading]:
        return {folder.guest: folder for folder in self.storage.folders}

    @cached_property
    def image_of(self) -> dict[tuple[str, str], ImageReading]:
        return {(image.image, image.version): image for image in self.storage.images}

    @cached_property
    def network_of(self) -> dict[str, StackReading]:
        return {stack.name: stack for stack in self.networks.networks}

    @cached_property
    def router_of(self) -> dict[str, StackReading]:
        return {stack.name: stack for stack in self.networks.routers}

    @cached_property
    def port_of(self) -> dict[str, PortReading]:
        return {port.name: port for port in self.networks.ports}

    @cached_property
    def group_of(self) -> dict[tuple[str, str], tuple[str, ...]]:
        return {(group.network, group.group): group.addresses for group in self.networks.groups}

    @cached_property
    def guest_of(self) -> dict[str, GuestReading]:
        return {guest.name: guest for guest in self.guests}
