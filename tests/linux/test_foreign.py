"""What is not Skep's is as it was, after a site came up and went down on a machine that has things of its own."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
from host_lab import SAFETY, Machine, machine, wait_for
from skepd.engine.contract import Operation
from skepd.engine.engine import Engine

pytestmark = [pytest.mark.real, pytest.mark.slow]
SITE = """
[host]
name = "guesthouse"
forwarding = true

[image.skep-small]
version = "1"

[filter.admin]
rules = ["in tcp 22", "in ping", "out any"]

[network.wan]
kind = "nat"
subnet = ["10.31.0.0/24", "fd31::/64"]
host-address = "10.31.0.254/24"

[network.lan]
subnet = "10.32.0.0/24"

[router.edge]
leg = [
    { network = "wan", addresses = "10.31.0.250/24", snat = true },
    { network = "lan", addresses = "10.32.0.250/24" },
]

[guest.files]
memory = "128M"
boot = { shutdown-timeout = "1s" }
cloud-init = { user = "anna" }
disk = [{ image = "skep-small" }, { name = "data", size = "64M" }]
nic = [{ network = "wan", addresses = "10.31.0.10", filters = "admin" }, { network = "lan" }]
"""
FOREIGN = (
    "ip link add br-foreign type bridge",
    "ip link add fv0 type veth peer name fv1",
    "ip link set fv0 master br-foreign",
    "ip netns add foreign",
    "ip link set fv1 netns foreign",
    "ip addr add 192.0.2.1/24 dev br-foreign",
    "ip addr add 2001:db8::1/64 dev br-foreign nodad",
    "ip link set br-foreign up",
    "ip link set fv0 up",
    "ip -n foreign addr add 192.0.2.2/24 dev fv1",
    "ip -n foreign link set fv1 up",
    "ip -n foreign link set lo up",
    "ip route add 198.51.100.0/24 via 192.0.2.2",
    "ip rule add from 192.0.2.0/24 table 77",
    "ip route add default via 192.0.2.2 table 77",
    "nft add table inet foreign",
    "nft add chain inet foreign forward { type filter hook forward priority 0 ; policy drop ; }",
    "nft add rule inet foreign forward ct state established accept",
    "nft add table ip nat",
    "nft add chain ip nat postrouting { type nat hook postrouting priority 100 ; }",
    "nft add rule ip nat postrouting oifname fv0 masquerade",
    "ip netns exec foreign nft add table inet foreign",
)
LOOKS = (
    "ip -d link",
    "ip addr",
    "ip -4 route show table all",
    "ip -6 route show table all",
    "ip rule",
    "ip -6 rule",
    "ip netns",
    "nft -s list ruleset",
)
SYSCTL = """
import os
for folder, _, names in sorted(os.walk("/proc/sys/net")):
    for name in sorted(names):
        path = os.path.join(folder, name)
        try:
            with open(path) as stream:
                print(path, stream.read().split())
        except OSError:
            continue
"""
# The clocks of a bridge, lifetimes, and how many flows there are at this moment.
PASSING = re.compile(r"\b\w+_timer +[0-9.]+|valid_lft \w+ preferred_lft \w+|expires \w+|.*/nf_conntrack_count .*")


@pytest.fixture
def here() -> Iterator[Machine]:
    """A machine with a bridge, addresses, routes, rules, tables, a namespace and a process of somebody else."""
    with machine(helper=False) as made:
        for line in FOREIGN:
            made.run(*line.split())
        # Not by `ip netns exec`, which gives a process a mount table of its own.
        sleeping = subprocess.Popen(made.inside(["nsenter", "--net=/run/netns/foreign", "sleep", "infinity"]))
        wait_for(lambda: "sleep" in made.processes().values(), "a foreign process")
        for stack in ([], ["-n", "foreign"]):
            wait_for(lambda: "tentative" not in made.run("ip", *stack, "addr"), "addresses in use")  # noqa: B023
        try:
            yield made
        finally:
            sleeping.kill()
            sleeping.wait()


def look(here: Machine) -> dict[str, object]:
    """All that somebody else could have on a machine. Counters, neighbours and clocks are not part of it."""
    found: dict[str, object] = {"processes": here.processes(), "mounts": here.mounts()}
    for place in ([], ["ip", "netns", "exec", "foreign"]):
        looks = {line: line.split() for line in LOOKS} | {"sysctl": [sys.executable, "-c", SYSCTL]}
        for name, command in looks.items():
            found[" ".join([*place, name])] = PASSING.sub("", here.run(*place, *command)).splitlines()
    return found


def differing(before: dict[str, object], after: dict[str, object]) -> dict[str, tuple[object, object]]:
    return {key: (before[key], after[key]) for key in before if before[key] != after[key]}


def done(engine: Engine, operation: Operation) -> None:
    ended = engine.wait(operation.id, SAFETY)
    assert (ended.state, ended.error) == ("done", "")


def test_nothing_of_others_is_touched(here: Machine) -> None:
    before = look(here)
    assert differing(before, look(here)) == {}
    here.start_helper()
    here.publish()
    with here.engine() as engine:
        done(engine, engine.apply_site(SITE, "site.toml"))
        up = differing(before, look(here))
        # It looked: links, rules, namespaces, processes and the host's forwarding are not as they were.
        assert {"processes", "ip -d link", "ip netns", "nft -s list ruleset", "sysctl"} <= up.keys()
        # Also while it is up, except that `ip netns` shows the machine's namespaces everywhere.
        assert [key for key in up if key.startswith("ip netns exec foreign")] == ["ip netns exec foreign ip netns"]
        done(engine, engine.quiesce())
    here.stop_helper()
    wait_for(lambda: here.processes() == before["processes"], "the end of every process")
    assert differing(before, look(here)) == {}
