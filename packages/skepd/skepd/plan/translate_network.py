"""Networks and routers of the model as the root side makes them."""

from __future__ import annotations

from collections.abc import Iterable

from skep_helper.vocabulary import NetworkSpec, RouterSpec
from skep_helper.vocabulary.network import FloatingAddress, Lease, PortForward, Remote, Route, RouterLeg
from skep_helper.vocabulary.network import Subnet as SubnetSpec

from skepd.model.macs import leg_mac, mac_of
from skepd.model.objects import Network, Port, Router, Subnet

from .digests import NO_DIGEST, sealed


def network_spec(network: Network, ports: Iterable[Port], nat_prefix: str | None) -> NetworkSpec:
    """ports: those in this network; each with addresses of its own gets a static lease. Raises Rejected."""
    spec = NetworkSpec(
        name=network.name,
        digest=NO_DIGEST,
        kind=network.kind,
        subnets=tuple(_subnet(subnet) for subnet in network.subnets),
        leases=tuple(
            Lease(mac=mac_of(port), addresses=port.addresses, hostname=port.guest)
            for port in sorted(ports, key=lambda port: port.name)
            if port.addresses
        ),
        domain=network.domain,
        forwarders=network.forwarders,
        mtu=network.mtu,
        uplink=network.uplink,
        vlan=network.vlan,
        vni=network.vni,
        local=network.local,
        remotes=tuple(Remote(address=address) for address in network.remotes),
        host_address=network.host_address,
        nat_prefix=nat_prefix,
    )
    return sealed(spec)


def _subnet(subnet: Subnet) -> SubnetSpec:
    return SubnetSpec(
        prefix=subnet.prefix,
        own=subnet.own,
        gateway=subnet.gateway,
        dhcp=subnet.dhcp,
        first=subnet.first,
        last=subnet.last,
        dns=subnet.dns,
        advertise=subnet.advertise,
    )


def router_spec(router: Router) -> RouterSpec:
    """Raises Rejected when a value is none that the vocabulary knows."""
    spec = RouterSpec(
        name=router.name,
        digest=NO_DIGEST,
        legs=tuple(
            RouterLeg(network=leg.network, addresses=leg.addresses, mac=leg_mac(router, leg), snat=leg.snat)
            for leg in router.legs
        ),
        routes=tuple(Route(prefix=prefix, via=via) for prefix, via in router.routes),
        floating=tuple(FloatingAddress(outside=outside, inside=inside) for outside, inside in router.floating),
        forwards=tuple(
            PortForward(
                protocol=forward.protocol,
                outside=forward.outside,
                outside_port=forward.outside_port,
                inside=forward.inside,
                inside_port=forward.inside_port,
            )
            for forward in router.forwards
        ),
    )
    return sealed(spec)
