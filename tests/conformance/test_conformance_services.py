"""DHCP, DNS and router advertisements of a network, asked for with real frames."""

from __future__ import annotations

from conformance_lab import need, only_on, variants
from conformance_taps import taps
from network_services import SERVICES
from skepd.host import Host

_SERVICE = {scenario.__name__: scenario for scenario in SERVICES}


@only_on("freebsd")
@variants(service=tuple(_SERVICE))
def test_a_network_serves(host: Host, service: str) -> None:
    need(host, "dnsmasq")
    with taps(host) as lab:
        _SERVICE[service](lab)
