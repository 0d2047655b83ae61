"""Taking guests over from vm-bhyve, and giving them back: what is wished, as a desired state and options for plan."""

from __future__ import annotations

from collections.abc import Mapping

from skep_helper.vocabulary import VmBhyveReading

from skepd.adoption.adoption import Adoption, examine
from skepd.adoption.guests import Choices
from skepd.model.desired import Desired
from skepd.plan.observed import Observed
from skepd.plan.options import PlanOptions

from .contract import Refused, Unknown
from .ownership import without_guest
from .status import ALIVE
from .store import including


def adopted(observed: Observed) -> dict[str, str]:
    """Guests by the dataset that one of their disks was."""
    return {disk.adopted: folder.guest for folder in observed.storage.folders for disk in folder.disks if disk.adopted}


def find(
    reading: VmBhyveReading, desired: Desired, observed: Observed, names: tuple[str, ...], choices: Choices
) -> Adoption:
    """Raises Unknown for a guest that vm-bhyve has not."""
    found = examine(reading, desired, adopted(observed), names, choices)
    if found.unknown:
        name, hint = found.unknown[0]
        raise Unknown(f"vm-bhyve has no guest {name!r}" + (f": {hint}" if hint else ""))
    return found


def require(found: Adoption, names: tuple[str, ...]) -> None:
    """Raises Refused when one of the named guests, or all there are, cannot be taken over."""
    refused = [one for one in found.guests if one.guest is None]
    if refused and (names or not found.possible):
        raise Refused("; ".join(str(item) for one in refused for item in one.findings if item.refuses))
    if not found.guests:
        known = ", ".join(f"{name} (guest {guest})" for name, guest in found.already.items())
        raise Refused(f"adopted already: {known}" if known else "vm-bhyve has no guests in the datasets of the policy")


def taking(before: Desired, found: Adoption) -> tuple[Desired, PlanOptions]:
    after, take, variables = before, {}, {}
    for network in found.networks:
        after = including(after, network)
    for one in found.possible:
        assert one.guest is not None
        for port in one.ports:
            after = including(after, port)
        after = including(after, one.guest)
        take.update({(one.name, disk): dataset for disk, dataset in one.disks.items()})
        if one.variables:
            variables[one.name] = next(iter(one.disks.values())).rpartition("/")[0]
    return after, PlanOptions(take=take, variables=variables)


def giving_back(before: Desired, observed: Observed, names: tuple[str, ...]) -> tuple[Desired, PlanOptions]:
    """names: of guests of Skep, or what they were called before. Raises Unknown, Refused."""
    after = before
    guests = [_owner(name, before, observed) for name in names]
    for name in guests:
        reading = observed.guest_of.get(name)
        if reading is not None and reading.state in ALIVE:
            raise Refused(f"guest {name} is {reading.state}: stop it first (skep guest stop {name})")
        after = without_guest(after, name)
    return after, PlanOptions(give_back=frozenset(guests))


def _owner(name: str, desired: Desired, observed: Observed) -> str:
    sources: Mapping[str, str] = {dataset.split("/")[-2]: guest for dataset, guest in adopted(observed).items()}
    if name in sources.values():
        return name
    if name in sources:
        return sources[name]
    if name in desired.guests:
        raise Refused(f"guest {name} was not adopted: there is nothing to give back")
    raise Unknown(f"there is no adopted guest {name!r}; there are {', '.join(sorted(set(sources.values()))) or 'none'}")
