"""What is: one reading of the host, in bulk."""

from __future__ import annotations

from dataclasses import dataclass, field

from skep_helper.vocabulary import GuestReading, NetworkReading, StorageReading


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The three bulk readings of the helper. Lists are keyed by name where plan looks things up (see its users)."""

    storage: StorageReading = field(default_factory=StorageReading)
    networks: NetworkReading = field(default_factory=NetworkReading)
    guests: tuple[GuestReading, ...] = ()
