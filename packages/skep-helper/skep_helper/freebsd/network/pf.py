"""What pfctl(8) is given and what it says: main rulesets of a network's stack, states, argv lists.

Every stack has a pf of its own. A network's main ruleset drops everything; an anchor below "open" lets an interface
that is no guest's pass (uplink, router leg, the stack's own), an anchor below "sg" holds the rules of a port. It names
no port, so it is loaded once (a first load that names 200 anchors takes 20 s, and one with a wildcard none).
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from .rules import Flow

PFCTL = "/sbin/pfctl"
GUARDED_SETTINGS = {
    "net.link.bridge.pfil_member": 1,
    "net.link.bridge.pfil_bridge": 0,
    "net.link.bridge.pfil_onlyip": 1,
    "net.link.bridge.pfil_local_phys": 0,
}
"""Each member filters both ways; the bridge itself does not, or unknown unicast would be dropped there. What is
neither IP nor ARP does not cross the bridge at all."""


MAIN_RULES = 3
"""What the main ruleset of a network has at least: without the first of them everything would pass."""


@dataclass(frozen=True)
class NatLink:
    """The way out of a nat network: its interface in the stack, and the address there that guests leave with."""

    interface: str
    address: str


def main_ruleset(nat: NatLink | None = None) -> str:
    """The main ruleset of a network. Fragments of IPv4 are put together, those of IPv6 cannot be on a bridge."""
    lines = ["set skip on lo0", "set state-policy if-bound", "set block-policy drop"]
    lines.append("scrub in inet all fragment reassemble")
    if nat is not None:
        lines.append(f"nat on {nat.interface} inet from any to any -> {nat.address}")
    lines += ["block drop all", 'anchor "open/*"', 'anchor "sg/*"']
    if nat is not None:
        lines.append(f"pass out quick on {nat.interface} inet all keep state (if-bound)")
    return "".join(f"{line}\n" for line in lines)


def open_anchor(interface: str) -> str:
    return f"open/{interface}"


def open_text(interface: str) -> str:
    """The anchor of an interface that is not filtered."""
    return f"pass quick on {interface} all no state\n"


def load(anchor: str = "") -> list[str]:
    """Replace the main ruleset or an anchor by what is on stdin, in one transaction."""
    return [PFCTL, "-q", *(["-a", anchor] if anchor else []), "-f", "-"]


def clear(anchor: str) -> list[str]:
    """Remove an anchor's rules, and so the anchor."""
    return [PFCTL, "-q", "-a", anchor, "-F", "rules"]


def replace_table(name: str) -> list[str]:
    """Bring a table to the addresses on stdin; one that is not there is made."""
    return [PFCTL, "-q", "-t", name, "-T", "replace", "-f", "-"]


def remove_table(name: str) -> list[str]:
    return [PFCTL, "-q", "-t", name, "-T", "kill"]


def show_states(interface: str) -> list[str]:
    """The states of one interface, with what names each."""
    return [PFCTL, "-i", interface, "-vv", "-s", "states"]


def end_states(interface: str) -> list[str]:
    """End every state of one interface."""
    return [PFCTL, "-q", "-i", interface, "-F", "states"]


def end_state(state: State) -> list[str]:
    return [PFCTL, "-q", "-k", "id", "-k", f"{state.identity}/{state.creator}"]


def end_states_of(address: str) -> list[list[str]]:
    """End the states from an address and those to it."""
    everyone = "::/0" if ":" in address else "0.0.0.0/0"
    return [[PFCTL, "-q", "-k", address], [PFCTL, "-q", "-k", everyone, "-k", address]]


@dataclass(frozen=True)
class State:
    """A state of an interface. direction: as pf sees it ("in": what came in there began it)."""

    interface: str
    direction: str
    flow: Flow
    identity: str
    creator: str


_HEAD = re.compile(r"(?P<interface>\S+) (?P<protocol>\S+) (?P<left>.+?) (?P<way><-|->) (?P<right>.+?) {3,}")
_IDENTITY = re.compile(r"id: (?P<identity>[0-9a-f]+) creatorid: (?P<creator>[0-9a-f]+)")
_END6 = re.compile(r"(?P<address>[0-9a-fA-F.:%]+)(?:\[(?P<port>\d+)\])?")
_END4 = re.compile(r"(?P<address>[0-9.]+)(?::(?P<port>\d+))?")


def states(text: str) -> list[State]:
    """From `pfctl -vv -s states`; raises ValueError for a line that begins a state in an unknown form."""
    found: list[State] = []
    head: tuple[str, str, Flow] | None = None
    for line in text.splitlines():
        if not line.startswith(" "):
            head = _head(line)
        elif head is not None and (match := _IDENTITY.search(line)):
            found.append(State(*head, match["identity"], match["creator"]))
    return found


def _head(line: str) -> tuple[str, str, Flow] | None:
    if "ALTQ" in line or not line:
        return None
    match = _HEAD.match(line)
    if match is None:
        raise ValueError(f"pfctl shows a state as {line!r:.120}")
    left, right = _end(match["left"]), _end(match["right"])
    # To the right of "<-" and to the left of "->" is who began.
    (source, _), (destination, port) = (right, left) if match["way"] == "<-" else (left, right)
    protocol = _protocol(match["protocol"])
    ported = protocol in (6, 17, 132)
    flow = Flow(source, destination, protocol, port if ported else -1)
    return match["interface"], "in" if match["way"] == "<-" else "out", flow


def _end(text: str) -> tuple[str, int]:
    """Address and port (-1: none) of one end; what is in parentheses is the same end after translation."""
    end = text.split(" (")[0]
    match = (_END6 if end.count(":") > 1 else _END4).fullmatch(end)
    if match is None:
        raise ValueError(f"pfctl shows an end of a state as {text!r:.80}")
    return match["address"].split("%")[0], int(match["port"] or -1)


_NAMES = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmp6": 58, "sctp": 132}


def _protocol(word: str) -> int:
    """A protocol by number or by its name in protocols(5); -1 for a name that this host does not know."""
    if word.isdigit():
        return int(word)
    if word in _NAMES:
        return _NAMES[word]
    with contextlib.suppress(OSError):
        return socket.getprotobyname(word)
    return -1


def anchors(text: str) -> Iterator[str]:
    """The names of `pfctl -s Anchors`."""
    return (line.strip() for line in text.splitlines() if line.startswith("  "))
