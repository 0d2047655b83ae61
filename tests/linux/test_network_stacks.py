"""Networks: their kinds, what they serve, what is noticed when it is gone, and what they leave alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from network_lab import Lab, own_stack
from network_services import FOUR, LEASE, SERVICES, lease
from skep_helper.vocabulary import ApplyNetwork, NetworkSpec

pytestmark = pytest.mark.real


@pytest.fixture
def lab() -> Iterator[Lab]:
    with own_stack():
        lab = Lab(uplinks=("up0", "upbr0"), forwarding=True)
        try:
            yield lab
        finally:
            lab.close()


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("scenario", SERVICES)
def test_services(lab: Lab, scenario: Callable[[Lab], None]) -> None:
    scenario(lab)


def test_dhcp_serves_new_leases_without_a_restart(lab: Lab) -> None:
    network = lab.network("dhcp", subnets=(FOUR,))
    guest = lab.port(network, 5)
    assert lease(guest)[0] != "10.0.0.5"
    before = server_pid(lab, network)
    lab.do(ApplyNetwork(network=replace(network, leases=(LEASE,), digest="f" * 16)))
    guest.drain()
    for _ in range(200):  # the signal is taken when dnsmasq gets to it
        if lease(guest)[0] == "10.0.0.5":
            break
    else:
        raise AssertionError("the new lease is not served")
    assert server_pid(lab, network) == before


def server_pid(lab: Lab, network: NetworkSpec) -> str:
    return (lab.run / "networks" / "dns" / network.name / "pid").read_text().strip()


def test_dnsmasq_cannot_send_root_to_another_file(lab: Lab) -> None:
    """dnsmasq opens its leases as root; whoever took its user over must not be able to say which file that is."""
    network = lab.network("link", subnets=(FOUR,))
    folder = lab.run / "networks" / "dns" / network.name
    assert ((folder / "state").stat().st_uid, (folder / "state").stat().st_mode & 0o777) == (0, 0o700)
    assert (folder / "state" / "leases").is_file()

    # As an earlier version left it, with a link put there meanwhile.
    victim = lab.run / "victim"
    victim.write_text("root's\n")
    (folder / "state" / "leases").unlink()
    (folder / "state" / "leases").symlink_to(victim)
    os.chown(folder / "state", 65_534, 65_534)
    lab.do(ApplyNetwork(network=replace(network, domain="other.example", digest="f" * 16)))
    opened = Path("/proc", (folder / "pid").read_text().strip(), "fd")
    assert str(victim) not in [os.readlink(entry) for entry in opened.iterdir()]
    assert not (folder / "state" / "leases").is_symlink()
    assert (folder / "state").stat().st_uid == 0
