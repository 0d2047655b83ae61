"""The host as a whole: status and doctor, as plain JSON."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from skep_helper.vocabulary import HelloReading

from skepd.model.desired import Desired
from skepd.model.facts import HostFacts
from skepd.plan.observed import Observed

from .status import ALIVE

LOW_SPACE = 0.10
"""Below this share of free space in the pool, the host has a problem."""


_REFUSED = (
    "vlan",
    "vxlan",
    "flat",
    "nat",
    "rules",
    "guard",
    "dnsmasq",
    "bridge-vlan-filtering",
    "swtpm",
    "passthrough",
)
_ADVICE = {name: f"definitions that need {name} are refused on this host" for name in _REFUSED}
_ADVICE["dnsmasq"] = "networks with an address of their own are refused on this host"
"""What lacks these is refused; everything else has a way around it, which its reason names."""


def host_status(
    facts: HostFacts, version: str, started: float, desired: Desired, observed: Observed, problems: tuple[str, ...]
) -> dict[str, Any]:
    states = Counter(reading.state for reading in observed.guests if reading.name in desired.guests)
    running = [guest for guest in desired.guests.values() if _alive(observed, guest.name)]
    storage = observed.storage
    return {
        "name": facts.hostname,
        "platform": facts.platform,
        "version": version,
        "skepd_started": started,
        "skepd_uptime": time.time() - started,
        "cpus": facts.cpus,
        "memory": {"total": facts.memory, "guests": sum(guest.memory for guest in running)},
        "storage": {"total": storage.total, "free": storage.free, "disk_format": facts.disk_format},
        "uplinks": list(facts.uplinks),
        "guests": {"defined": len(desired.guests), **{state: states[state] for state in sorted(states)}},
        "networks": len(desired.networks),
        "images": len(storage.images),
        "problems": [*problems, *_storage_problems(observed), *_guest_problems(desired, observed)],
    }


def _alive(observed: Observed, name: str) -> bool:
    reading = observed.guest_of.get(name)
    return reading is not None and reading.state in ALIVE


def _storage_problems(observed: Observed) -> list[str]:
    storage = observed.storage
    if storage.total and storage.free < LOW_SPACE * storage.total:
        return [f"the pool has {storage.free >> 30} GiB free of {storage.total >> 30}: remove snapshots or images"]
    return []


def _guest_problems(desired: Desired, observed: Observed) -> list[str]:
    found = []
    for reading in observed.guests:
        if reading.state == "crashed" and reading.name in desired.guests:
            message = f" ({reading.message})" if reading.message else ""
            found.append(f"guest {reading.name} crashed{message}: skep guest log {reading.name}")
    return found


def doctor(
    hello: HelloReading,
    broken: dict[str, str],
    leftovers: dict[str, str],
    observed: Observed,
    problems: tuple[str, ...],
) -> list[dict[str, Any]]:
    """Facilities as the helper probed them, then what is wrong with what is defined, begun or left behind."""
    found = [
        {
            "name": feature.name,
            "works": feature.works,
            "reason": feature.reason,
            "advice": "" if feature.works else _ADVICE.get(feature.name, ""),
        }
        for feature in hello.features
    ]
    found += _bad(broken, "mend the file, then restart skepd; until then what it defines is left alone")
    found += _bad(leftovers, "look at what it was about; a restart of skepd tries again, removing the journal gives up")
    if observed.storage.trash and not leftovers:
        count = len(observed.storage.trash)
        found += _bad({"trash": f"{count} things lie in the trash of the pool"}, "see the recovery page of the manual")
    found += _bad({f"plan {number}": text for number, text in enumerate(problems, 1)}, "see `skep plan`")
    return found


def _bad(reasons: dict[str, str], advice: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "works": False, "reason": reason, "advice": advice} for name, reason in sorted(reasons.items())
    ]
