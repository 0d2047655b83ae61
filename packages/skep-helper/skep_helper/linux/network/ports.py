"""ApplyPort and RemovePort: a tap in the network's bridge, its guard and its rules."""

from __future__ import annotations

import os

from ...handlers import Context, Failure
from ...policy import Policy
from ...vocabulary import ApplyPort, PortSpec, RemovePort
from . import names, namespaces, taps
from .links import Links
from .records import NetworkRecord, PortRecord, Records

LAST_NUMBER = 0x7FFF


def apply_port(context: Context, request: ApplyPort) -> None:
    """Bring a port to its spec. Raises Failure: missing (its network), conflict (in another network), unsupported."""
    policy, spec = context.policy, request.port
    records = Records(policy)
    network = records.network(spec.network)
    if network is None:
        raise Failure("missing", f"port {spec.name}: network {spec.network} is not on this host: apply it first")
    record = records.port(spec.name)
    if record is not None and record.spec.network != spec.network:
        raise Failure("conflict", f"port {spec.name} is in network {record.spec.network}: remove it there first")
    namespace = namespaces.open_namespace(names.network_namespace(spec.network), network.inode)
    try:
        if record is None:
            record = PortRecord(spec, names.tap(policy, spec.name), _free_number(records, spec.network))
        _apply(policy, records, network, record, spec, namespace)
    finally:
        os.close(namespace)


def _apply(
    policy: Policy, records: Records, network: NetworkRecord, record: PortRecord, spec: PortSpec, namespace: int
) -> None:
    record.spec, record.done = spec, False
    records.save(record)
    namespaces.inside(namespace, lambda: taps.make(record.interface))
    with Links.of(namespace) as links:
        links.change(record.interface, up=True, mtu=network.spec.mtu, master=names.BRIDGE, link_local=False)
    record.done = True
    records.save(record)


def remove_port(context: Context, request: RemovePort) -> None:
    records = Records(context.policy)
    record = records.port(request.port)
    if record is None or record.spec.network != request.network:
        return
    network = records.network(request.network)
    standing = namespaces.inode(names.network_namespace(request.network))
    if network is not None and standing == network.inode and standing:
        namespace = namespaces.open_namespace(names.network_namespace(request.network), network.inode)
        try:
            with Links.of(namespace) as links:
                links.remove(record.interface)
        finally:
            os.close(namespace)
    records.forget("port", request.port)


def _free_number(records: Records, network: str) -> int:
    used = {port.number for port in records.ports(network)}
    return next(number for number in range(1, LAST_NUMBER + 1) if number not in used)
