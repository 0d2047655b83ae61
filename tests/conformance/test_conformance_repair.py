"""What goes away beneath a network is noticed, named, and made again; guests' taps stay open meanwhile."""

from __future__ import annotations

import os

from conformance_cables import run
from conformance_lab import only_on, variants
from conformance_taps import Taps, taps
from network_rules import OUT4, tcp_in
from planning import observe
from skep_helper import vocabulary as v
from skepd.host import Host

BREAKING = {
    "bridge": ("jexec {jail} ifconfig bridge0 destroy", "bridge0"),
    "own interface": ("jexec {jail} ifconfig gw0 destroy", "gw0"),
    "a bridge that is down": ("jexec {jail} ifconfig bridge0 down", "bridge0"),
    "pf": ("jexec {jail} pfctl -d", "pf"),
    "rules": ("jexec {jail} pfctl -F all", "pf rules"),
    "a member": ("jexec {jail} ifconfig bridge0 deletem gwport0", "gwport0 in bridge0"),
}
# A jail that ends with a guard's nodes in it panics the kernel of 13.2: the jail's end is tried without a guard.
BREAKING_A_PORT = {
    "a member": "jexec {jail} ifconfig bridge0 deletem {tap}",
    "guard": "jexec {jail} ngctl shutdown {tap}g:",
    "rules": "jexec {jail} pfctl -a sg/{tap} -F rules",
    "moved to the host": "ifconfig {tap} -vnet {jail}",
}


class Place:
    """A network with two guests, one of them filtered."""

    def __init__(self, host: Host, lab: Taps) -> None:
        self.host, self.lab = host, lab
        self.network = lab.network("broken")
        self.client = lab.port(self.network, 5)
        self.server = lab.port(self.network, 6, filtered=True, rules=(tcp_in(80), OUT4))

    def breaks(self, command: str) -> None:
        tap = self.lab.interface(self.client.spec.name)
        run(*command.format(jail=f"skep_n_{self.network.name}", tap=tap).split())

    def mends(self) -> None:
        """Apply everything again, as a plan does that found a digest missing."""
        self.lab.do(v.ApplyNetwork(network=self.network))
        for guest in (self.client, self.server):
            self.lab.do(v.ApplyPort(port=guest.spec))

    def whole(self) -> bool:
        seen = observe(self.host)
        ports = [seen.port_of[guest.spec.name] for guest in (self.client, self.server)]
        return seen.network_of[self.network.name].digest == self.network.digest and all(
            p.digest and p.up for p in ports
        )

    def works(self) -> None:
        """Frames pass, and rules hold: what is not allowed stays out, seen by what is sent after it."""
        client, server = self.client, self.server
        server.drain()
        client.send(client.tcp(server, 2, b"closed", destination=81, ack=0))
        client.send(client.tcp(server, 2, b"open", destination=80, ack=0))
        captured = server.until(b"open")
        assert not any(b"closed" in frame for frame in captured)


@only_on("freebsd")
@variants(case=tuple(BREAKING))
def test_what_is_missing_of_a_network_is_named_and_made_again(host: Host, case: str) -> None:
    command, missing = BREAKING[case]
    with taps(host) as lab:
        place = Place(host, lab)
        place.works()
        assert place.whole()
        place.breaks(command)
        reading = observe(host).network_of[place.network.name]
        assert (reading.digest, missing in reading.missing) == ("", True), reading
        place.mends()
        assert place.whole(), observe(host).networks
        place.works()


@only_on("freebsd")
def test_a_jail_that_ended_is_made_again(host: Host) -> None:
    """Without guards and rules: their netgraph nodes in a stack that ends panic the kernel of 13.2 ("won't die")."""
    with taps(host) as lab:
        network = lab.network("ended")
        ports = [lab.port(network, number, guarded=False) for number in (5, 6)]
        run("jail", "-r", f"skep_n_{network.name}")
        assert observe(host).network_of[network.name].missing == "jail"
        lab.do(v.ApplyNetwork(network=network))
        for guest in ports:
            lab.do(v.ApplyPort(port=guest.spec))
        one, other = ports
        other.drain()
        one.send(one.udp(other, b"again"))
        assert other.until(b"again")


@only_on("freebsd")
@variants(case=tuple(BREAKING_A_PORT))
def test_what_is_missing_of_a_port_is_made_again(host: Host, case: str) -> None:
    with taps(host) as lab:
        place = Place(host, lab)
        place.breaks(BREAKING_A_PORT[case])
        assert not place.whole()
        place.mends()
        assert place.whole(), observe(host).networks
        place.works()


@only_on("freebsd")
def test_a_tap_that_was_closed_works_when_it_is_opened_again(host: Host) -> None:
    """A guest's VMM goes and another comes: the tap keeps its place, its rules and its guard."""
    with taps(host) as lab:
        place = Place(host, lab)
        device = lab.device(place.client.spec.name)
        place.client.close()
        lab.do(v.ApplyPort(port=place.client.spec))
        place.client.descriptor = os.open(device, os.O_RDWR | os.O_NONBLOCK)
        lab.do(v.ApplyPort(port=place.client.spec))
        place.works()
        assert place.whole()


@only_on("freebsd")
def test_a_second_apply_changes_nothing(host: Host) -> None:
    """Not even a process of a tool: whatever is there already is left alone."""
    with taps(host) as lab:
        place = Place(host, lab)
        jail = f"skep_n_{place.network.name}"

        def look() -> list[str]:
            shown = [run("jexec", jail, *command.split()) for command in LOOKS]
            # ngctl(8) itself is a node while it runs.
            nodes = run("jexec", jail, "ngctl", "list").splitlines()
            return [*shown, *(node for node in nodes if "Type: socket" not in node), run("jls", "-j", jail, "jid")]

        before = look()
        place.mends()
        assert look() == before


LOOKS = ("ifconfig -a", "pfctl -sr", "pfctl -a sg/* -sr", "netstat -rn")
