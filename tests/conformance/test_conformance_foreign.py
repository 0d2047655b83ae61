"""What is not Skep's is as it was, after networks, ports, a router and a guest came and went beside it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from conformance_cables import cable, run, switch
from conformance_lab import CABLE, GUEST, MIB, POOL, PREFIX, SWITCH, A, B, disk_format, lacks, only_on, router, sweep
from conformance_lab import network as isolated
from conformance_taps import taps
from network_rules import OUT4, tcp_in
from skep_helper import vocabulary as v
from skep_helper.vocabulary.guest import DiskDevice
from skepd.host import Host
from skepd.plan.digests import NO_DIGEST, sealed

JAIL = ANCHOR = f"{PREFIX}-foreign"
RULES = "table <friends> { 192.0.2.0/24 }\nblock in quick on foreign0 from <friends> to any\n"
LOOKS = (
    "ifconfig -a",
    "jexec {jail} ifconfig -a",
    "pfctl -sr",
    "pfctl -sn",
    "pfctl -si",
    f"pfctl -a {ANCHOR} -sr",
    f"pfctl -a {ANCHOR} -t friends -T show",
    "jexec {jail} pfctl -sr",
    "sysctl net",
    "jexec {jail} sysctl net",
    "jls",
    "jls -v",
    "mount -p",
    "netstat -rnW",
    "devfs rule showsets",
    "ngctl list",
    "zfs get -s local -H all",
    "zfs list -H -o name",
    "ls /dev/vmm",
)
PASSING = re.compile(
    r"^(net\.inet6?\.\S*(count|stats|pcblist|states|activelist|hostcache\S*)|net\.local\.\S*|net\.isr\.\S*"
    r"|net\.inet\.(tcp|udp)\.\S*|net\.link\.\S*ifcount|net\.bpf\.\S*|net\.routetable\S*|net\.raw\.\S*)[:=].*$"
    r"|(?<=abled) for \d+ days .*|^ *(searches|inserts|removals|match|current entries|half-open tcp) .*$"
    r"|^ *Name: \S+ +Type: socket .*$|^\w+ +(\* +)?\w+ +\d+$",
    re.MULTILINE,
)
"""Counters and lists of sockets (ngctl is one itself): what is there at this moment, whoever made it. The settings
beside them stay."""
SETTINGS = re.compile(r"^net\.inet\.(tcp|udp)\.(?!\S*(count|states|stats|pcblist))\S*: -?\d+$", re.MULTILINE)


@contextmanager
def foreign(host: Host) -> Iterator[None]:
    """A card, a bridge, a jail with a stack and rules of its own, rules on the host, and a dataset of somebody else."""
    with ExitStack() as stack:
        stack.enter_context(cable(CABLE))
        stack.enter_context(switch(SWITCH, CABLE))
        run("ifconfig", SWITCH, "inet", "192.0.2.1/24")
        run("jail", "-c", f"name={JAIL}", "path=/", "vnet", "persist")
        stack.callback(run, "jail", "-r", JAIL)
        run("jexec", JAIL, "ifconfig", "lo0", "inet", "192.0.2.77/32", "up")
        run("jexec", JAIL, "pfctl", "-q", "-f", "-", stdin="block all\n")
        run("pfctl", "-q", "-a", ANCHOR, "-f", "-", stdin=RULES)
        stack.callback(run, "pfctl", "-q", "-a", ANCHOR, "-F", "all")
        if POOL in run("zpool", "list", "-H", "-o", "name", fails=True).split():
            run("zfs", "create", "-o", "atime=off", "-o", "org.example:whose=theirs", f"{POOL}/foreign")
            stack.callback(run, "zfs", "destroy", "-r", f"{POOL}/foreign")
            run("zfs", "snapshot", f"{POOL}/foreign@before")
        yield


def look() -> dict[str, str]:
    """Everything by command: a digest would not tell what differs."""
    found = {}
    for command in LOOKS:
        text = run(*command.format(jail=JAIL).split(), fails=True)
        kept = SETTINGS.findall(text) if "sysctl" in command else []
        found[command] = PASSING.sub("", text) + "\n".join(map(str, kept))
    return found


def differing(before: dict[str, str], after: dict[str, str]) -> dict[str, list[str]]:
    """Lines of one that the other does not have, by command; their order may be that of a table of the kernel."""
    found = {}
    for command, text in before.items():
        was, now = (Counter(filter(None, lines.splitlines())) for lines in (text, after[command]))
        if was != now:
            found[command] = sorted((was - now) + (now - was))
    return found


@only_on("freebsd")
def test_nothing_of_others_is_touched(host: Host) -> None:
    with foreign(host):
        before = look()
        assert (found := differing(before, look())) == {}, ("this changes by itself", found)
        with taps(host) as lab:
            flat = lab.network("flat", kind="flat", uplink=SWITCH)
            lab.port(flat, 5, filtered=True, rules=(tcp_in(80), OUT4))
            host.perform([v.ApplyNetwork(network=isolated(host, A, 1)), v.ApplyNetwork(network=isolated(host, B, 2))])
            host.perform([v.ApplyRouter(router=router()), v.SetGroup(network=A, group="g", addresses=("10.0.0.1/32",))])
            start_a_guest(host)
            up = differing(before, look())
            assert {"ifconfig -a", "jls"} <= up.keys(), ("it looked", sorted(up))
            theirs = {command: lines for command, lines in up.items() if "{jail}" in command or "pfctl" in command}
            assert theirs == {}, ("while it is up", theirs)
        sweep(host)
        assert (found := differing(before, look())) == {}, found
    assert not Path(f"/dev/{CABLE}").exists()


def start_a_guest(host: Host) -> None:
    """Where the host can run one."""
    if lacks(host, "vmm"):
        return
    disk = DiskDevice(disk="data", slot=0)
    guest = sealed(v.GuestSpec(name=GUEST, digest=NO_DIGEST, memory=256 * MIB, disks=(disk,)))
    host.perform(
        [
            v.CreateGuestFolder(guest=GUEST),
            v.CreateDisk(guest=GUEST, disk="data", size=8 * MIB, format=disk_format(host)),
        ]
    )
    host.perform([v.StartGuest(guest=guest)])
