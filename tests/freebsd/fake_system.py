"""A FreeBSD of interfaces, jails, bridges and anchors in memory, which obeys the argv that we make and keeps them.

It does what transcripts 20 to 27 show: what a move takes from an interface, what a jail's end brings back, what a
bridge refuses. An argv that it does not know fails the test.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skep_helper.freebsd.network import names, netgraph
from skep_helper.freebsd.network.system import RUNNING, UP, Counters, System
from skep_helper.handlers import Failure

RESPONDER = 1000


@dataclass
class Link:
    kind: str
    up: bool = False
    mtu: int = 1500
    device: str = ""
    pair: Link | None = None
    opened: bool = False
    addresses: set[str] = field(default_factory=set)
    members: list[str] = field(default_factory=list)
    vlan: tuple[int, str] | None = None
    long_frames: bool = True
    """Whether it can send frames that are four bytes longer, for a tag."""
    home: int = 0
    """The stack that it was made in, where alone it can be destroyed."""
    silent: bool = False
    received: int = 0
    sent: int = 0
    description: str = ""


@dataclass
class Stack:
    links: dict[str, Link] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[str]] = field(default_factory=dict)
    nodes: dict[str, tuple[str, int]] = field(default_factory=dict)
    programs: dict[str, str] = field(default_factory=dict)
    sysctls: dict[str, int] = field(default_factory=dict)
    states: str = ""
    main: str = ""
    pf: bool = False
    dnsmasq: bool = False
    answered: dict[bytes, bytes] | None = None
    """What the process answers for that answers in other ports' place."""


class FakeSystem(System):
    def __init__(self) -> None:
        self.stacks: dict[int, Stack] = {0: Stack()}
        self.jails: dict[str, int] = {}
        self.here = 0
        self.log: list[tuple[int, str]] = []
        self.driven: list[tuple[str, int, bytes]] = []
        self.stacks[0].sysctls["net.inet.ip.forwarding"] = 1
        self._units: dict[str, int] = {}
        self.last_jid = 0
        self.signals: list[int] = []
        self.member_addresses = True  # as net.link.bridge.member_ifaddrs, which FreeBSD 15 has, and switched off
        self.careless = False  # somebody else ends the jail, and the kernel is lucky

    @property
    def stack(self) -> Stack:
        return self.stacks[self.here]

    def host(self, name: str, kind: str = "", **fields: Any) -> Link:
        """Give the host an interface."""
        link = self.stacks[0].links[name] = Link(kind, **fields)
        return link

    # -- the door

    def run(self, argv: Sequence[str], stdin: bytes = b"") -> bytes:
        self.log.append((self.here, " ".join(argv)))
        tool = argv[0].rsplit("/", 1)[-1]
        return getattr(self, f"_{tool}")(list(argv[1:]), stdin.decode()).encode()

    def enter(self, jid: int, work: Callable[[], Any]) -> Any:
        if jid not in self.stacks:
            raise OSError(22, f"entering jail {jid}")
        assert self.here == 0, "a jail's process cannot enter another"
        self.here = jid
        try:
            return json.loads(json.dumps(work()))
        finally:
            self.here = 0

    def make_jail(self, name: str) -> int:
        assert name not in self.jails
        self.last_jid += 1
        self.jails[name] = self.last_jid
        self.stacks[self.last_jid] = Stack(links={"lo0": Link("lo")})
        return self.last_jid

    def jail_id(self, name: str) -> int:
        return self.jails.get(name, 0)

    def remove_jail(self, jid: int) -> None:
        if not self.careless:
            assert self.stacks[jid].nodes.keys() <= self.stacks[jid].links.keys(), "panic: ng node won't die"
        self.jails = {name: other for name, other in self.jails.items() if other != jid}
        for name, link in self.stacks.pop(jid).links.items():
            # What was made on the host comes back; pairs made inside, bridges and lo0 end with the jail.
            if name not in ("lo0", names.BRIDGE, names.OWN, names.OWN_PORT):
                link.up = False
                self.stacks[0].links[name] = link

    def load_modules(self, names: Iterable[str]) -> None:
        assert self.here == 0

    def sysctl(self, name: str) -> int:
        return self.stack.sysctls[name]

    def set_sysctl(self, name: str, value: int) -> None:
        self.stack.sysctls[name] = value

    def counters(self) -> dict[str, Counters]:
        return {
            name: Counters(link.received, link.sent, 2 if link.up else 1) for name, link in self.stack.links.items()
        }

    def interfaces(self) -> dict[str, int]:
        return {name: link.up * UP | link.opened * RUNNING for name, link in self.stack.links.items()}

    def device(self, interface: str) -> str:
        return next(s.links[interface].device for s in self.stacks.values() if interface in s.links)

    def mtu(self, name: str) -> int:
        return self.stack.links[name].mtu

    def members(self, bridge: str) -> list[str]:
        return list(self.stack.links[bridge].members)

    def drive(self, name: str, command: int, data: bytes) -> None:
        assert self.here == 0, "refused in a jail"
        assert name in self.stack.links
        self.driven.append((name, command, data))

    def start_pf(self) -> bool:
        was_off, self.stack.pf = not self.stack.pf, True
        return was_off

    def main_rules(self) -> int:
        return sum(line.split()[0] in ("block", "pass", "anchor") for line in self.stack.main.splitlines())

    def anchors(self, path: str) -> list[str]:
        return [
            name.removeprefix(f"{path}/")
            for name, text in self.stack.anchors.items()
            if name.startswith(f"{path}/") and text
        ]

    def nodes(self) -> dict[str, tuple[str, int]]:
        plain = {name: ("ether", 0) for name in self.stack.links}
        return {**plain, **self.stack.nodes}

    # -- tools

    def _ifconfig(self, words: list[str], stdin: str) -> str:
        if words == ["-a"] or (len(words) == 1 and words[0] in self.stack.links):
            return "".join(self._show(name) for name in (self.stack.links if words == ["-a"] else words))
        name, *rest = words
        if rest[0] == "create":
            name = self._create(name)
            rest = rest[1:]
        if rest[:1] == ["-vnet"]:
            self._move(name, int(rest[1]), 0)
            return ""
        if name not in self.stack.links:
            raise Failure("failed", f"ifconfig: interface {name} does not exist (exit 1)")
        while rest:
            name = self._word(name, rest) or name
        return f"{name}\n"

    def _create(self, kind: str) -> str:
        name = kind
        if not kind[-1].isdigit():
            unit = self._units[kind] = self._units.get(kind, -1) + 1
            name = f"{kind}{unit}"
        if kind == "epair":
            first, second = Link("epair", home=self.here), Link("epair", home=self.here)
            first.pair, second.pair = second, first
            self.stack.links.update({f"{name}a": first, f"{name}b": second})
            return f"{name}a"
        self.stack.links[name] = Link(kind.rstrip("0123456789"), device=name, home=self.here)
        return name

    def _word(self, name: str, rest: list[str]) -> str | None:
        """One word of ifconfig with its values; the new name, if it has one then."""
        link, word = self.stack.links[name], rest.pop(0)
        values = {"static": 2, "vlan": 1, "vlandev": 1, "mtu": 1, "name": 1, "ether": 1, "description": 1, "vnet": 1,
                  "addm": 1, "deletem": 1, "learn": 1, "-learn": 1, "discover": 1, "-discover": 1,
                  "vxlanid": 1, "vxlanlocal": 1, "vxlanremote": 1, "inet": 2}.get(word, 0)  # fmt: skip
        taken = [rest.pop(0) for _ in range(values)]
        if word == "inet6" and rest[:1] != ["-ifdisabled"]:
            taken = [rest.pop(0) for _ in range(4 if rest[1:2] == ["prefixlen"] else 2)]
            self._address(link, f"{taken[0]}/{taken[2]}" if len(taken) == 4 else taken[0], taken[-1])
        elif word == "inet":
            self._address(link, *taken)
        elif word in ("up", "down"):
            link.up = word == "up"
        elif word == "-arp":
            link.silent = True
        elif word == "destroy":
            self._destroy(name)
        elif word == "name":
            assert taken[0] not in self.stack.links, "File exists"
            assert len(taken[0]) <= names.INTERFACE_NAME_LENGTH
            self.stack.links[taken[0]] = self.stack.links.pop(name)
            return taken[0]
        else:
            self._change(name, link, word, taken)
        return None

    def _change(self, name: str, link: Link, word: str, taken: list[str]) -> None:
        if word == "vlan":
            link.vlan = (int(taken[0]), "")
        elif word == "vlandev":
            link.vlan = (link.vlan[0] if link.vlan else 0, taken[0])
            link.mtu = self._largest(link)
        elif word == "mtu":
            assert not any(name in other.members and other.mtu != int(taken[0]) for other in self.stack.links.values())
            if link.vlan and int(taken[0]) > self._largest(link):
                raise Failure("failed", "ifconfig: ioctl SIOCSIFMTU (set mtu): Invalid argument (exit 1)")
            link.mtu = int(taken[0])
        elif word == "vnet":
            self._move(name, 0, int(taken[0]))
        elif word == "addm":
            member = self.stack.links[taken[0]]
            link.mtu = link.mtu if link.members else member.mtu
            refused = member.addresses and not self.member_addresses
            if member.mtu != link.mtu or taken[0] in link.members or refused:
                raise Failure("failed", f"ifconfig: BRDGADD {taken[0]}: Invalid argument (exit 1)")
            link.members.append(taken[0])
        elif word == "deletem":
            link.members.remove(taken[0])
        elif word in ("static", "learn", "-learn", "discover", "-discover"):
            assert taken[0] in link.members, word
        else:
            assert word in ("ether", "description", "vxlanid", "vxlanlocal", "vxlanremote", "inet6", "-ifdisabled",
                            "auto_linklocal"), word  # fmt: skip

    def _largest(self, vlan: Link) -> int:
        assert vlan.vlan is not None
        parent = self.stacks[0].links[vlan.vlan[1]]
        return parent.mtu - (0 if parent.long_frames else 4)

    def _address(self, link: Link, address: str, verb: str) -> None:
        if verb == "alias":
            link.addresses.add(address)
        else:
            assert verb == "-alias"
            link.addresses = {other for other in link.addresses if other.split("/")[0] != address}

    def _move(self, name: str, here: int, there: int) -> None:
        """A move takes the interface out of its bridge and its guard from it, and leaves it down."""
        assert self.here == 0
        link = self.stacks[here].links.pop(name)
        self._forget(self.stacks[here], name)
        link.up = False
        assert name not in self.stacks[there].links, "File exists"
        self.stacks[there].links[name] = link

    def _forget(self, stack: Stack, name: str) -> None:
        """Its guard's other nodes hold one another and stay behind."""
        for other in stack.links.values():
            other.members = [member for member in other.members if member != name]
        stack.nodes.pop(name, None)

    def _destroy(self, name: str) -> None:
        link = self.stack.links[name]
        assert not link.opened, "hangs for ever"
        assert link.home == self.here, "SIOCIFDESTROY: Device not configured"
        for stack in self.stacks.values():
            for other, found in list(stack.links.items()):
                if found is link or (link.pair is not None and found is link.pair):
                    del stack.links[other]
                    self._forget(stack, other)

    def _show(self, name: str) -> str:
        link = self.stack.links[name]
        lines = [f"{name}: flags=8843<{'UP,' * link.up}{'RUNNING,' * link.opened}MULTICAST> metric 0 mtu {link.mtu}"]
        lines += [f"\tmember: {member} flags=143<LEARNING>" for member in link.members]
        lines += [f"\tgroups: {link.kind}"] if link.kind else []
        for address in sorted(link.addresses):
            ip, length = address.split("/")
            mask = (0xFFFFFFFF << (32 - min(int(length), 32))) & 0xFFFFFFFF
            lines.append(f"\tinet6 {ip} prefixlen {length}" if ":" in ip else f"\tinet {ip} netmask {mask:#010x}")
        if link.vlan:
            lines.append(f"\tvlan: {link.vlan[0]} vlanproto: 802.1q vlanpcp: 0 parent interface: {link.vlan[1]}")
        return "\n".join(lines) + "\n"

    def _dnsmasq(self, words: list[str], stdin: str) -> str:
        assert self.here != 0
        configuration = Path(words[0].removeprefix("--conf-file=")).read_text()
        pid = next(line for line in configuration.splitlines() if line.startswith("pid-file="))
        Path(pid.removeprefix("pid-file=")).write_text(f"{self.here}\n")
        self.stack.dnsmasq = True
        return ""

    def start_responder(self, interface: str, known: Mapping[bytes, bytes], own: bytes) -> int:
        assert interface in self.stack.links
        self.stack.answered = dict(known)
        return RESPONDER + self.here

    def kill(self, process: int, number: int) -> None:
        """os.kill in a jail: the number of dnsmasq is the jail's, that of the responder RESPONDER more."""
        assert self.here != 0
        if process == RESPONDER + self.here and self.stack.answered is not None:
            self.stack.answered = self.stack.answered if number == 0 else None
            return
        if process != self.here or not self.stack.dnsmasq:
            raise ProcessLookupError
        if number in (signal.SIGTERM, signal.SIGKILL):
            self.stack.dnsmasq = False
        self.signals += [number] if number else []

    def _route(self, words: list[str], stdin: str) -> str:
        assert self.here != 0
        return ""

    def _pfctl(self, words: list[str], stdin: str) -> str:
        assert self.here != 0, "the host's pf is not ours"
        words = [word for word in words if word != "-q"]
        options = dict(zip(words[::2], words[1::2], strict=False))
        if options.get("-T") == "replace":
            self.stack.tables[options["-t"]] = stdin.split()
        elif options.get("-T") == "kill":
            self.stack.tables.pop(options["-t"], None)
        elif options.get("-f") == "-" and "-a" in options:
            self.stack.anchors[options["-a"]] = stdin
        elif options.get("-f") == "-":
            self.stack.main = stdin
        elif options.get("-F") == "rules":
            self.stack.anchors.pop(options["-a"], None)
        elif words[-2:] == ["-s", "states"]:
            return self.stack.states
        else:
            assert options.get("-F") == "states" or "-k" in options, words
        return ""

    def _ngctl(self, words: list[str], stdin: str) -> str:
        assert self.here != 0
        if words[:1] == ["-f"]:
            interface = stdin.split(":")[0].split()[1]
            assert (words, stdin.encode()) == (netgraph.make(interface)[0][1:], netgraph.make(interface)[1])
            assert not netgraph.nodes_of(interface).keys() & self.stack.nodes.keys(), "File exists"
            self.stack.nodes.update(netgraph.nodes_of(interface))
        elif words[0] == "msg":
            assert words[1].rstrip(":") in self.stack.nodes
            self.stack.programs[words[1].rstrip(":")] = words[3]
        else:
            assert words[0] == "shutdown"
            node = words[1].rstrip(":")
            if node not in self.stack.nodes:
                raise Failure("failed", "ngctl: shutdown: No such file or directory (exit 71)")
            del self.stack.nodes[node]
            if node.endswith("g") and node[:-1] not in self.stack.nodes:
                self.stack.nodes.pop(f"{node[:-1]}v", None)  # its last hook went
            if node.endswith("v"):
                self.stack.nodes.pop(node[:-1], None)
        return ""
