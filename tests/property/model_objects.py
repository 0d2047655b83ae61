"""Strategies: any object of the model whose fields are good, whether or not it fits to others."""

from __future__ import annotations

import ipaddress

from hypothesis import strategies as st
from skepd.model.names import Manager
from skepd.model.objects import (
    Boot,
    CloudInit,
    Cpus,
    Disk,
    Filter,
    Forward,
    Gate,
    Guest,
    Image,
    Leg,
    Media,
    Network,
    Nic,
    Port,
    Router,
    Rule,
    Subnet,
)

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
port_names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,8}(\.[a-z0-9][a-z0-9-]{0,5})?", fullmatch=True)
versions = st.from_regex(r"[0-9a-z][0-9a-z.+~-]{0,6}", fullmatch=True)
managers = st.sampled_from(Manager)
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str).filter(lambda text: "%" not in text)
macs = st.integers(0, 2**40 - 1).map(lambda n: "02:" + ":".join(f"{n >> 8 * k & 255:02x}" for k in range(5)))
one_line = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20)
lines_of_text = st.text(st.sampled_from("ab:#\"'\\\n\t é-"), max_size=30)
pci = st.integers(0, 255).map(lambda n: f"0000:{n:02x}:00.0")
keys = st.integers(10**40, 10**60).map(lambda n: f"ssh-ed25519 AAAA{n} me@home")
vlans = st.integers(1, 4094)


def some(strategy: st.SearchStrategy, most: int = 3) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.lists(strategy, max_size=most, unique=True).map(tuple)


def maybe(strategy: st.SearchStrategy) -> st.SearchStrategy:  # type: ignore[type-arg]
    return st.none() | strategy


@st.composite
def prefixes(draw: st.DrawFn) -> str:
    address = ipaddress.ip_address(draw(addresses))
    length = draw(st.integers(0, address.max_prefixlen))
    return str(ipaddress.ip_network(f"{address}/{length}", strict=False))


interface_addresses = st.tuples(addresses, st.integers(1, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}")
images = st.one_of(names, st.tuples(names, versions).map(":".join))
sizes = st.integers(1 << 20, 1 << 45)
slots = maybe(st.integers(0, 1023))

disks = st.builds(
    Disk, name=names, size=maybe(sizes), image=maybe(images), edition=st.sampled_from(["thin", "full"]),
    format=maybe(st.sampled_from(["qcow2", "raw", "zvol"])), model=maybe(st.sampled_from(["virtio", "ahci", "nvme"])),
    discard=st.booleans(), slot=slots,
)  # fmt: skip
nics = st.builds(Nic, port=port_names, model=maybe(st.sampled_from(["virtio", "e1000"])), slot=slots)
gates = st.builds(
    Gate, kind=st.sampled_from(["serial", "ping", "tcp", "agent"]), text=one_line, port=st.integers(0, 65535),
    address=maybe(addresses), timeout=st.integers(1, 86_400),
).filter(lambda gate: gate.port >= 0)  # fmt: skip
boots = st.builds(
    Boot, order=st.integers(0, 10_000), after=some(names), delay=st.integers(0, 86_400), gate=maybe(gates),
    shutdown_timeout=st.integers(0, 86_400),
)  # fmt: skip
cloud_inits = st.builds(
    CloudInit, hostname=maybe(names), user=maybe(names), ssh_keys=some(keys), commands=some(lines_of_text),
    user_data=maybe(lines_of_text), network_config=maybe(lines_of_text),
)  # fmt: skip
guests = st.builds(
    Guest, name=names, manager=managers, description=one_line,
    profile=st.sampled_from(["freebsd", "openbsd", "linux", "windows"]),
    cpus=st.builds(Cpus, sockets=st.integers(1, 4), cores=st.integers(1, 32), threads=st.integers(1, 2)),
    memory=st.integers(16 << 20, 1 << 44), disks=some(disks), nics=some(nics),
    media=some(st.builds(Media, image=images, until_reboot=st.booleans(), slot=slots)), cloud_init=maybe(cloud_inits),
    boot=boots, power=st.sampled_from(["on", "off"]), autostart=st.booleans(), screen=st.booleans(),
    agent=st.booleans(), tpm=st.booleans(), secure_boot=st.booleans(), local_clock=maybe(st.booleans()),
    passthrough=some(pci),
)  # fmt: skip
ports = st.builds(
    Port, name=port_names, manager=managers, network=names, guest=maybe(names), mac=maybe(macs),
    addresses=some(addresses), filters=some(names), pairs=some(st.tuples(maybe(macs), prefixes())),
    guard=st.booleans(), vlans=some(vlans),
)  # fmt: skip
subnets = st.builds(
    Subnet, prefix=prefixes(), own=maybe(addresses), gateway=maybe(addresses), dhcp=st.booleans(),
    first=maybe(addresses), last=maybe(addresses), dns=some(addresses),
    advertise=st.sampled_from(["", "slaac", "stateless", "stateful"]),
)  # fmt: skip
networks = st.builds(
    Network, name=names, manager=managers, kind=st.sampled_from(["isolated", "nat", "flat", "vlan", "vxlan"]),
    subnets=some(subnets), domain=st.just("a.example"), forwarders=some(addresses), mtu=st.integers(576, 9216),
    uplink=maybe(st.sampled_from(["igb0", "eth1.5"])), vlan=maybe(vlans), vni=maybe(st.integers(1, 2**24 - 1)),
    local=maybe(addresses), remotes=some(addresses), host_address=maybe(interface_addresses),
)  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    family = draw(st.sampled_from(["ipv4", "ipv6"]))
    protocol = draw(st.sampled_from(["", "tcp", "udp", "sctp", "icmp", "0", "47", "255"]))
    ports, icmp = "", (-1, -1)
    if protocol in ("tcp", "udp", "sctp"):
        ports = draw(st.sampled_from(["", "22", "1-65535"]))
    elif protocol == "icmp":
        icmp = draw(st.sampled_from([(-1, -1), (8, -1), (3, 4), (255, 0)]))
    side = draw(st.sampled_from(["none", "prefix", "group"]))
    remote = draw(prefixes().filter(lambda text: (":" in text) == (family == "ipv6"))) if side == "prefix" else None
    return Rule(
        direction=draw(st.sampled_from(["in", "out"])), family=family, protocol=protocol, ports=ports,
        icmp_type=icmp[0], icmp_code=icmp[1], remote=remote, group=draw(names) if side == "group" else None,
        stateless=draw(st.booleans()),
    )  # fmt: skip


filters = st.builds(Filter, name=names, manager=managers, description=one_line, rules=some(rules()))
transport = st.integers(1, 65535)
routers = st.builds(
    Router, name=names, manager=managers,
    legs=some(st.builds(Leg, network=names, addresses=some(interface_addresses), snat=st.booleans())),
    routes=some(st.tuples(prefixes(), addresses)), floating=some(st.tuples(addresses, addresses)),
    forwards=some(st.builds(Forward, protocol=st.sampled_from(["tcp", "udp"]), outside=addresses,
                            outside_port=transport, inside=addresses, inside_port=transport)),
)  # fmt: skip
image_objects = st.builds(
    Image, name=names, manager=managers, version=versions,
    sources=some(st.sampled_from(["http://a/", "https://b.example:8/x/", "http://[::1]:80/"])),
)  # fmt: skip
objects = st.one_of(guests, ports, networks, filters, routers, image_objects)
