"""What the conformance tests share: names, specifications, images, what is refused, variants, and sweeping up.

A test is a function `test_...(host)`, and needs nothing but the standard library, because the suite also runs where
there is no pytest (see __main__).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from typing import Any, TypeVar

from planning import observe
from skep_helper import vocabulary as v
from skep_helper.vocabulary.network import RouterLeg, Subnet
from skepd.host import Host, HostError
from skepd.plan.digests import NO_DIGEST, sealed

MIB = 1 << 20
# Beside each other on one machine, runs with a helper of their own must not meet in the names of network stacks.
PREFIX = "conform" if "SKEP_HELPER" in os.environ else f"conform{os.getpid()}"
GUEST, A, B = f"{PREFIX}-guest", f"{PREFIX}-a", f"{PREFIX}-b"
PORT = f"{GUEST}.0"
CABLE, SWITCH = f"cf{os.getpid()}c0", f"cf{os.getpid()}s0"
"""Interfaces that tests may make and use as uplinks: the policy allows them."""
POOL = f"skc{os.getpid()}"
"""A ZFS pool in a file, made for the suite where the platform's storage needs one."""
_TURNS, _PAUSE = 5, 2.0
"""Of sweeping, and the seconds between them, more each time."""
IMAGE_SIZE = 4 * MIB
KEYS = ("a" * 32, "b" * 32)

Test = TypeVar("Test", bound=Callable[..., None])


class Lacking(Exception):
    """What a test needs and this host does not have: the test is skipped, and the summary names it with the reason."""


def only_on(*names: str) -> Callable[[Test], Test]:
    """Run a test on hosts of these platforms only: it looks at what they alone have."""

    def mark(test: Test) -> Test:
        test.platforms = names  # type: ignore[attr-defined]
        return test

    return mark


def runs_on(test: Callable[..., None], name: str) -> bool:
    return name in getattr(test, "platforms", (name,))


def lacks(host: Host, facility: str) -> str:
    """Why the host has no such facility; "" when it has, or does not tell."""
    return next((f"{f.name}: {f.reason}" for f in host.hello().features if f.name == facility and not f.works), "")


def disk_format(host: Host) -> str:
    """What disks are on this host when nothing is said."""
    return "zvol" if lacks(host, "files") else "qcow2"


def need(host: Host, *facilities: str) -> None:
    """Skip the test on a host without one of these."""
    for facility in facilities:
        if reason := lacks(host, facility):
            raise Lacking(reason)


def variants(**values: tuple[str, ...]) -> Callable[[Test], Test]:
    """Run a test once for each of these values of an argument, and for every combination of several arguments'."""

    def mark(test: Test) -> Test:
        test.variants = values  # type: ignore[attr-defined]
        return test

    return mark


def variants_of(test: Callable[..., None]) -> dict[str, tuple[str, ...]]:
    return getattr(test, "variants", {})


def refusal(work: Callable[..., object], *arguments: object) -> HostError:
    """What a call is refused with; fails when it is not."""
    try:
        work(*arguments)
    except HostError as error:
        return error
    raise AssertionError(f"{arguments} was not refused")


def refused(host: Host, *requests: Any) -> str:
    """The code that the last of these requests is refused with; those before it must be done."""
    error = refusal(host.perform, requests)
    assert (error.index, error.request) == (len(requests) - 1, type(requests[-1]).__name__), error
    return error.code


def publish(host: Host, name: str, version: str = "1") -> None:
    write_image(host, name, version)
    digest = hashlib.sha256(bytes(IMAGE_SIZE)).hexdigest()
    host.perform([v.PublishImage(image=name, version=version, format="raw", digest=digest)])


def image(host: Host) -> str:
    """A published image of IMAGE_SIZE bytes, version 1; its name."""
    name = f"{PREFIX}-image"
    publish(host, name)
    return name


def write_image(host: Host, name: str, version: str = "1") -> None:
    _, descriptor = host.open(v.OpenImageWriter(image=name, version=version, format="raw", size=IMAGE_SIZE))
    try:
        os.pwrite(descriptor, bytes(IMAGE_SIZE), 0)
    finally:
        os.close(descriptor)


def sweep(host: Host) -> None:
    """Remove what the suite made. What is refused is tried again: a guest may be starting for a test that was cut off.

    Raises AssertionError when something stays."""
    errors: list[HostError] = []
    for turn in range(_TURNS):
        time.sleep(_PAUSE * turn)
        errors = []
        for request in _removals(host):
            try:
                host.perform([request])
            except HostError as error:
                errors.append(error)
        if not errors:
            return
    raise AssertionError("left behind: " + "; ".join(map(str, errors)))


def _removals(host: Host) -> list[object]:
    seen = observe(host)
    key = hashlib.sha256(PREFIX.encode()).hexdigest()[:32]
    requests: list[object] = [v.StopGuest(guest=g.name, timeout=0) for g in seen.guests if _ours(g.name)]
    requests += [v.RemoveRouter(router=r.name) for r in seen.networks.routers if _ours(r.name)]
    requests += [v.RemovePort(port=p.name, network=p.network) for p in seen.networks.ports if _ours(p.network)]
    requests += [v.RemoveNetwork(network=n.name) for n in seen.networks.networks if _ours(n.name)]
    requests += [v.TrashGuestFolder(guest=f.guest, key=key) for f in seen.storage.folders if _ours(f.guest)]
    requests += [v.EmptyTrash(key=k) for k in {*seen.storage.trash, *([key] if requests else [])} & {key, *KEYS}]
    requests += [v.RemoveImage(image=i.image, version=i.version) for i in seen.storage.images if _ours(i.image)]
    return [*requests, v.AbandonImage(image=f"{PREFIX}-image", version="1")]


def _ours(name: str) -> bool:
    return name.startswith(PREFIX)


def network(host: Host, name: str, third: int) -> v.NetworkSpec:
    """With an address, DHCP and DNS of its own, where the host has what serves them."""
    own = None if lacks(host, "dnsmasq") else f"10.251.{third}.1"
    subnet = Subnet(prefix=f"10.251.{third}.0/24", own=own)
    return sealed(v.NetworkSpec(name=name, digest=NO_DIGEST, kind="isolated", subnets=(subnet,)))


def port(**fields: object) -> v.PortSpec:
    values: dict[str, object] = {
        "name": PORT,
        "network": A,
        "digest": NO_DIGEST,
        "rules_digest": NO_DIGEST,
        "mac": "02:00:00:00:00:51",
        "addresses": ("10.251.1.10",),
        "filtered": False,
    }
    return sealed(v.PortSpec(**{**values, **fields}))  # type: ignore[arg-type]


def router() -> v.RouterSpec:
    legs = tuple(
        RouterLeg(network=name, addresses=(f"10.251.{third}.254/24",), mac=f"02:00:00:00:00:6{third}")
        for third, name in enumerate((A, B), 1)
    )
    return sealed(v.RouterSpec(name=f"{PREFIX}-router", digest=NO_DIGEST, legs=legs))
