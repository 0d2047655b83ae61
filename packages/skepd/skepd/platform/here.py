"""The platform that this process runs on: the one place that chooses, as late as it is asked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

from skep_helper.vocabulary import HelloReading

from skepd.model.facts import HostFacts

from .places import Places

PACKAGES = {"linux": "skepd.platform.linux", "freebsd": "skepd.platform.freebsd"}
"""How sys.platform begins -> the package that has PLACES, and a module `facts` with read_facts(hello)."""


@dataclass(frozen=True)
class Here:
    """name: as in site.toml."""

    name: str
    places: Places
    read_facts: Callable[[HelloReading], HostFacts]


def here(system: str = sys.platform) -> Here:
    """Raises LookupError on a platform that Skep does not know."""
    for prefix, package in PACKAGES.items():
        if system.startswith(prefix):  # freebsd14 is freebsd
            facts = importlib.import_module(f"{package}.facts")
            return Here(prefix, importlib.import_module(package).PLACES, facts.read_facts)
    raise LookupError(f"Skep does not know the platform {system}; it runs on {', '.join(PACKAGES)}")
