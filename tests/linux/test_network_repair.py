"""What is noticed when it is gone, what is made again, and what a second Apply leaves alone."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from network_guest import Guest
from network_lab import DIGEST, Lab
from network_services import FOUR, LEASE, MAC, SIX, lease
from skep_helper.handlers import Failure
from skep_helper.linux.network import FEATURES, names, netlink, nft, server
from skep_helper.linux.network.taps import open_tap
from skep_helper.vocabulary import (
    ApplyNetwork,
    ApplyPort,
    FilterRule,
    NetworkReading,
    NetworkSpec,
    PortSpec,
    RemoveNetwork,
    RemovePort,
)
from test_network_stacks import ip, lab, server_pid

pytestmark = pytest.mark.real
__all__ = ["lab"]

BREAKING = {
    "namespace": ("", "namespace"),
    "bridge": ("ip link delete br0", "br0"),
    "own interface": ("ip link delete gw0", "gw0, gw0-br"),
    "a bridge that is down": ("ip link set br0 down", "br0"),
    "nft table": ("nft flush ruleset", "nft table"),
}
NETWORK = NetworkSpec(name="any", digest=DIGEST, kind="isolated", subnets=(FOUR, SIX), leases=(LEASE,))
PORT = PortSpec(
    name="any", network="any", digest=DIGEST, rules_digest=DIGEST, mac=MAC, addresses=("10.0.0.5", "fd00::5"),
    rules=(FilterRule(direction="in", family="ipv4"),),
)  # fmt: skip


def whole(lab: Lab, *guests: Guest) -> bool:
    reading = lab.read()
    networks = all(network.digest == DIGEST and not network.missing for network in reading.networks)
    ports = [(port.name, port.digest, port.up) for port in reading.ports]
    return networks and ports == [(guest.spec.name, DIGEST, True) for guest in guests]


@pytest.mark.parametrize("case", BREAKING)
def test_what_is_missing_is_named_and_made_again(lab: Lab, case: str) -> None:
    command, missing = BREAKING[case]
    network = lab.network("broken", subnets=(FOUR,), leases=(LEASE,))
    guest = lab.port(network, 5, filtered=True, rules=())
    assert whole(lab, guest)
    namespace = names.network_namespace(network.name)
    if command:
        lab.inside(namespace, *command.split())
    else:
        guest.close()
        ip("netns", "delete", namespace)
    reading = lab.read()
    assert (reading.networks[0].digest, reading.networks[0].missing) == ("", missing)
    lab.do(ApplyNetwork(network=network))
    lab.change(guest)
    assert whole(lab, guest)
    assert len(servers(network)) == 1
    if not command:
        guest = lab.port(network, 5, filtered=True, rules=())
    lab.wait_forwarding(guest.spec)
    assert lease(guest)[0] == "10.0.0.5"


def servers(network: NetworkSpec) -> list[str]:
    """The processes that serve a network, in whatever stack."""
    mark = f"/dns/{network.name}/conf".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            if mark in (entry / "cmdline").read_bytes():
                found.append(entry.name)
    return found


def family(lab: Lab) -> str:
    works = next(feature.works for feature in FEATURES(lab.policy) if feature.name == "conntrack-bridge")
    return "bridge" if works else "inet"


def test_a_missing_tap_or_chain_is_noticed(lab: Lab) -> None:
    network = lab.network("ports")
    guest = lab.port(network, 5, filtered=True)
    namespace, tap = names.network_namespace(network.name), names.tap(lab.policy, guest.spec.name)
    for command in (f"nft flush chain netdev skep {tap}-arp", f"nft flush chain {family(lab)} skep in-{tap}-begin"):
        lab.inside(namespace, *command.split())
        assert lab.read().ports[0].digest == ""
        lab.change(guest)
        assert whole(lab, guest)
    guest.close()
    lab.inside(namespace, "ip", "link", "delete", tap)
    assert (lab.read().ports[0].digest, lab.read().ports[0].up) == ("", False)
    lab.change(guest)
    assert whole(lab, guest)


def test_a_dead_dnsmasq_is_noticed_and_started_again(lab: Lab) -> None:
    network = lab.network("dns", subnets=(FOUR,), leases=(LEASE,))
    first = int(server_pid(lab, network))
    process = os.pidfd_open(first)
    os.kill(first, signal.SIGKILL)
    select.select([process], [], [])
    os.close(process)
    assert lab.read().networks[0].missing == "dnsmasq"
    # Neither a process that took the number nor one that only looks like ours is taken for it, or harmed.
    pid_file = lab.run / "networks" / "dns" / network.name / "pid"
    pid_file.write_text(str(os.getpid()))
    assert lab.read().networks[0].missing == "dnsmasq"
    conf = f"--conf-file={pid_file.parent}/conf"
    with subprocess.Popen([sys.executable, "-c", "input()", conf], stdin=subprocess.PIPE) as double:
        pid_file.write_text(str(double.pid))
        assert lab.read().networks[0].missing == "dnsmasq"
        lab.do(ApplyNetwork(network=network))
        assert double.poll() is None
        double.communicate(b"\n")
    assert lab.read().networks[0].missing == ""
    assert lease(lab.port(network, 5))[0] == "10.0.0.5"


def test_applying_twice_and_reading_do_nothing_and_start_no_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    network = lab.network("twice", subnets=(FOUR, SIX), leases=(LEASE,))
    guests = [lab.port(network, number, filtered=True) for number in range(5, 9)]

    def files() -> dict[str, int]:
        return {str(path): path.stat().st_mtime_ns for path in lab.run.rglob("*") if "state" not in path.parts}

    before = files()

    def refuse(*words: object, **more: object) -> None:
        raise AssertionError(f"started or changed: {words}")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        patch.setattr(netlink.Netlink, "request", refuse)
        lab.do(ApplyNetwork(network=network))
        for guest in guests:
            lab.do(ApplyPort(port=guest.spec))
        assert whole(lab, *guests)
    assert files() == before


def test_whatever_fails_midway_the_next_apply_repairs(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every change of the kernel's, and every process, fails once."""
    network = replace(NETWORK, name=lab.name("midway"))
    port = replace(PORT, name=f"{network.name}.n5", network=network.name)

    def apply() -> None:
        lab.do(ApplyNetwork(network=network))
        lab.do(ApplyPort(port=port))

    number, ended = 0, False
    while not ended:
        with monkeypatch.context() as patch:
            fail_call(patch, number)
            try:
                apply()
                ended = True
            except OSError:
                number += 1
        apply()
        reading = lab.read()
        assert [(r.missing, r.digest) for r in reading.networks] == [("", DIGEST)]
        assert [r.digest for r in reading.ports] == [DIGEST]
        lab.do(RemovePort(port=port.name, network=network.name))
        lab.do(RemoveNetwork(network=network.name))
    assert number > 15
    assert lab.read() == NetworkReading()


def fail_call(patch: pytest.MonkeyPatch, number: int) -> None:
    """Make the call of this number fail, of all that change something."""
    count = iter(range(10_000))

    def failing(real: Callable[..., object]) -> Callable[..., object]:
        def call(*words: object, **more: object) -> object:
            if next(count) == number:
                raise OSError(5, "made to fail")
            return real(*words, **more)

        return call

    patch.setattr(netlink.Netlink, "request", failing(netlink.Netlink.request))
    patch.setattr(nft, "run", failing(nft.run))
    patch.setattr(server, "run", failing(server.run))


def test_a_network_changes_its_kind_in_place(lab: Lab) -> None:
    network = lab.network("kind", kind="nat", nat_prefix="100.64.7.0/30", subnets=(FOUR,), leases=(LEASE,))
    guest = lab.port(network, 5)
    lab.do(ApplyNetwork(network=replace(network, kind="isolated", nat_prefix=None)))
    assert names.host_link(lab.policy, network.name, "n") not in ip("link")
    assert "skep" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert whole(lab, guest)
    lab.do(ApplyNetwork(network=network))
    assert whole(lab, guest)
    assert lease(guest)[0] == "10.0.0.5"


def test_a_used_network_is_not_removed_and_a_port_keeps_its_network(lab: Lab) -> None:
    one, two = lab.network("one"), lab.network("two")
    guest = lab.port(one, 5)
    with pytest.raises(Failure, match=r"is used by .*remove them first"):
        lab.do(RemoveNetwork(network=one.name))
    with pytest.raises(Failure, match="remove it there first"):
        lab.do(ApplyPort(port=replace(guest.spec, network=two.name)))
    with pytest.raises(Failure, match="not on this host: apply it first"):
        lab.do(ApplyPort(port=replace(guest.spec, name="other", network="nowhere")))
    for _ in range(2):
        lab.do(RemovePort(port=f"{one.name}.n5", network=one.name))
    for _ in range(2):
        lab.do(RemoveNetwork(network=one.name))
    assert [network.name for network in lab.read().networks] == [two.name]


def test_equal_addresses_in_two_networks_never_meet(lab: Lab) -> None:
    pairs = []
    for short in ("one", "two"):
        network = lab.network(short)
        pairs.append((lab.port(network, 5), lab.port(network, 6)))
    for number, (sender, receiver) in enumerate(pairs):
        sender.send(sender.udp(receiver, b"in network %d" % number))
    for number, (_, receiver) in enumerate(pairs):
        captured = receiver.until(b"in network %d" % number)
        assert sum(b"in network" in frame for frame in captured) == 1


def test_a_tap_is_opened_once_at_a_time_and_again_after(lab: Lab) -> None:
    guest = lab.port(lab.network("tap"), 5)
    with pytest.raises(Failure, match="another process has its tap open"):
        open_tap(lab.policy, guest.spec.name)
    guest.close()
    os.close(open_tap(lab.policy, guest.spec.name))
    with pytest.raises(Failure, match="apply it first"):
        open_tap(lab.policy, "nobody.n0")
