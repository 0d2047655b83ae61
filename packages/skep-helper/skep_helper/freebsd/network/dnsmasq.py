"""What dnsmasq reads for one network: configuration, static leases, names. Pure functions of the network's spec.

Values come checked by the vocabulary: addresses, DNS labels, MACs; none can hold a comma or a line end.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

from ...vocabulary.network import Lease, NetworkSpec, Subnet
from . import names

LEASE_TIME = 3600
"""Seconds of a dynamic lease, and of a static one."""
ROUTER_LIFETIME = 1800


def configuration(spec: NetworkSpec, folder: Path, user: str, resolv: str | None) -> str:
    """The configuration file. folder: where leases, names and the state are; resolv: the host's resolv.conf to use."""
    lines = [
        f"user={user}",
        f"pid-file={folder}/pid",
        f"interface={names.OWN}",
        "except-interface=lo0",
        "bind-interfaces",
        "no-hosts",
        f"addn-hosts={folder}/names",
        f"dhcp-hostsfile={folder}/leases",
        f"dhcp-leasefile={folder}/state/leases",
        "dhcp-authoritative",
        f"domain={spec.domain}",
        f"local=/{spec.domain}/",
        "domain-needed",
        "localise-queries",
        f"resolv-file={resolv}" if resolv else "no-resolv",
        *(f"server={address}" for address in spec.forwarders),
        f"dhcp-option=option:mtu,{spec.mtu}",
    ]
    served = [subnet for subnet in spec.subnets if subnet.own is not None]
    for number, subnet in enumerate(served):
        lines += _ipv4(subnet, f"s{number}") if _version(subnet) == 4 else _ipv6(subnet, f"s{number}")
    if any(subnet.advertise for subnet in served):
        routes = any(subnet.gateway for subnet in served if subnet.advertise)
        lines.append("enable-ra")
        lines.append(f"ra-param={names.OWN},mtu:{spec.mtu},60,{ROUTER_LIFETIME if routes else 0}")
    return "\n".join(lines) + "\n"


def leases(spec: NetworkSpec) -> str:
    """The static leases, as dhcp-hostsfile wants them (read again at SIGHUP)."""
    return "".join(f"{line}\n" for lease in spec.leases for line in _lease(lease))


def host_names(spec: NetworkSpec) -> str:
    """Names of guests for DNS, in the form of /etc/hosts (read again at SIGHUP)."""
    return "".join(
        f"{address} {lease.hostname}.{spec.domain} {lease.hostname}\n"
        for lease in spec.leases
        if lease.hostname
        for address in lease.addresses
    )


def _version(subnet: Subnet) -> int:
    return ipaddress.ip_network(subnet.prefix, strict=False).version


def _ipv4(subnet: Subnet, tag: str) -> Iterator[str]:
    if not subnet.dhcp:
        return
    network = ipaddress.ip_network(subnet.prefix, strict=False)
    if subnet.first and subnet.last:
        yield f"dhcp-range=set:{tag},{subnet.first},{subnet.last},{network.netmask},{LEASE_TIME}"
    else:
        yield f"dhcp-range=set:{tag},{network.network_address},static,{network.netmask},{LEASE_TIME}"
    # Without a value the option is not sent: dnsmasq would otherwise name itself as the router.
    yield f"dhcp-option=tag:{tag},option:router" + (f",{subnet.gateway}" if subnet.gateway else "")
    yield f"dhcp-option=tag:{tag},option:dns-server,{','.join(subnet.dns) or subnet.own}"


def _ipv6(subnet: Subnet, tag: str) -> Iterator[str]:
    network = ipaddress.ip_network(subnet.prefix, strict=False)
    base, length = network.network_address, network.prefixlen
    if subnet.advertise == "slaac":
        yield f"dhcp-range=set:{tag},{base},ra-only,{length}"
    elif subnet.advertise == "stateless":
        yield f"dhcp-range=set:{tag},{base},ra-stateless,{length}"
    elif subnet.advertise == "stateful" or subnet.dhcp:
        first_last = f"{subnet.first},{subnet.last}" if subnet.first and subnet.last else f"{base},static"
        yield f"dhcp-range=set:{tag},{first_last},{length},{LEASE_TIME}"
    else:
        return
    servers = ",".join(f"[{address}]" for address in subnet.dns or (subnet.own,))
    yield f"dhcp-option=tag:{tag},option6:dns-server,{servers}"


def _lease(lease: Lease) -> Iterator[str]:
    """One line for each IPv4 address (dnsmasq takes the one of the subnet asked in), IPv6 ones with the first.

    On FreeBSD dnsmasq reads no neighbours of IPv6, so it does not know the MAC of who asks by DHCPv6. Known are guests
    whose DUID is made from their MAC alone (type 3 of RFC 8415); others get no address.
    """
    parsed = [ipaddress.ip_address(address) for address in lease.addresses]
    sixes = [f"[{address}]" for address in parsed if address.version == 6]
    fours = [str(address) for address in parsed if address.version == 4]
    name = [lease.hostname] if lease.hostname else []
    for number, four in enumerate(fours or [""]):
        asked6 = [f"id:00:03:00:01:{lease.mac}", *sixes] if sixes and number == 0 else []
        yield ",".join([lease.mac, *asked6[:1], *([four] if four else []), *asked6[1:], *name])
