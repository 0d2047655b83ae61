"""The NoCloud seed of a guest: user-data, meta-data and network-config version 2.

The instance-id is the guest's name and a digest of the rest of the seed: a changed seed is a new instance to
cloud-init, which is how it is made to look at it again. Surprise: cloud-init then also makes new SSH host keys.
A guest that is deleted and made again with the same seed gets the same instance-id, on new disks.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Any

from skepd.model.macs import mac_of
from skepd.model.objects import CloudInit, Guest, Network, Port, Subnet

from . import yaml


@dataclass(frozen=True)
class Seed:
    """The three texts, and the digest that the host shows of them."""

    user_data: str
    meta_data: str
    network_config: str
    digest: str


def seed_of(guest: Guest, ports: tuple[Port, ...], networks: tuple[Network, ...]) -> Seed:
    """ports: those of guest.nics, in order; networks: that of each port. The guest must have a cloud_init."""
    given = guest.cloud_init or CloudInit()
    user_data = given.user_data if given.user_data is not None else _user_data(guest, given)
    network_config = (
        given.network_config if given.network_config is not None else _network_config(guest, ports, networks)
    )
    instance = hashlib.sha256(f"{user_data}\0{network_config}".encode()).hexdigest()[:12]
    meta_data = yaml.dump({"instance-id": f"{guest.name}-{instance}", "local-hostname": given.hostname or guest.name})
    content = f"{user_data}\0{meta_data}\0{network_config}\0"
    return Seed(user_data, meta_data, network_config, hashlib.sha256(content.encode()).hexdigest())


def _user_data(guest: Guest, given: CloudInit) -> str:
    content: dict[str, Any] = {"hostname": given.hostname or guest.name}
    keys = list(given.ssh_keys)
    if given.user:
        user: dict[str, Any] = {"name": given.user, "sudo": "ALL=(ALL) NOPASSWD:ALL", "lock_passwd": True}
        if keys:
            user["ssh_authorized_keys"] = keys
        content["users"] = [user]
    elif keys:
        content["ssh_authorized_keys"] = keys
    if given.commands:
        content["runcmd"] = list(given.commands)
    return "#cloud-config\n" + yaml.dump(content)


def _network_config(guest: Guest, ports: tuple[Port, ...], networks: tuple[Network, ...]) -> str:
    ethernets: dict[str, Any] = {}
    routed: set[int] = set()
    for number, (port, network) in enumerate(zip(ports, networks, strict=True)):
        ethernets[f"nic{number}"] = _ethernet(port, network, routed)
    return yaml.dump({"version": 2, "ethernets": ethernets})


def _ethernet(port: Port, network: Network, routed: set[int]) -> dict[str, Any]:
    """One card. routed: IP versions that have a default route already (the first card that knows one gives it)."""
    entry: dict[str, Any] = {"match": {"macaddress": mac_of(port)}}
    if network.mtu != 1500:
        entry["mtu"] = network.mtu
    addresses: list[str] = []
    routes: list[dict[str, Any]] = []
    servers: list[str] = []
    static = {ipaddress.ip_address(address).version for address in port.addresses}
    for subnet in network.subnets:
        prefix = ipaddress.ip_network(subnet.prefix, strict=False)
        own = [address for address in port.addresses if ipaddress.ip_address(address) in prefix]
        addresses += [f"{address}/{prefix.prefixlen}" for address in own]
        if own:
            routes += _default_route(prefix.version, subnet.gateway, routed)
        if own or prefix.version not in static:
            servers += subnet.dns or ([subnet.own] if subnet.own else [])
        if prefix.version not in static and _by_dhcp(prefix.version, subnet):
            entry[f"dhcp{prefix.version}"] = True
        if prefix.version == 6 and subnet.advertise:
            entry["accept-ra"] = True
    if addresses:
        entry["addresses"] = addresses
    if routes:
        entry["routes"] = routes
    if servers and addresses:
        entry["nameservers"] = {"search": [network.domain], "addresses": list(dict.fromkeys(servers))}
    return entry


def _by_dhcp(version: int, subnet: Subnet) -> bool:
    return subnet.dhcp if version == 4 else subnet.advertise == "stateful"


def _default_route(version: int, gateway: str | None, routed: set[int]) -> list[dict[str, Any]]:
    if gateway is None or version in routed:
        return []
    routed.add(version)
    return [{"to": "0.0.0.0/0" if version == 4 else "::/0", "via": gateway}]
