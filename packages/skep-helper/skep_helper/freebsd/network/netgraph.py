"""Netgraph nodes of a port's guard: what ngctl(8) is told, and which nodes stand, read from a control socket.

The chain on a tap: ether:lower -> vlan:nomatch, vlan:downstream -> bpf:in, bpf:out -> ether:upper. Frames of the guest
run along it before bridge and pf see them; frames to the guest do not. ether_input takes a tag off the frame before
netgraph; the vlan node ("setencap 2": of what comes from nomatch) puts it back, so that the program sees it. A chain
that is half made drops everything. A tap that moves to another stack loses its chain; the two other nodes hold each
other and stay behind. They must be shut down before their stack ends, or the kernel panics ("ng node ... won't die").
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .bpf import WHOLE_FRAME, Instruction

NGCTL = "/usr/sbin/ngctl"
_FROM_NOMATCH = 2
_VERSION, _GENERIC, LIST_NAMES = 8, 1137070366, 8 | 0x10000000 | 0x20000000
_HEADER = struct.Struct("=BBHIIIII32s")
"""struct ng_mesg: version, two spares, length of the data, command, flags, token, type cookie, command's name."""
_NODE = struct.Struct("=32s32sII")
"""struct nodeinfo: name, type, id, hooks."""


def nodes_of(interface: str) -> dict[str, tuple[str, int]]:
    """The nodes of a complete guard: name -> (type, hooks)."""
    return {interface: ("ether", 2), vlan_node(interface): ("vlan", 2), bpf_node(interface): ("bpf", 2)}


def vlan_node(interface: str) -> str:
    return f"{interface}v"


def bpf_node(interface: str) -> str:
    return f"{interface}g"


def make(interface: str) -> tuple[list[str], bytes]:
    """argv and stdin that make a guard's chain. It drops every frame until its programs are set."""
    vlan, bpf = vlan_node(interface), bpf_node(interface)
    script = (
        f"mkpeer {interface}: vlan lower nomatch\n"
        f"name {interface}:lower {vlan}\n"
        f"msg {vlan}: setencap {_FROM_NOMATCH}\n"
        f"mkpeer {vlan}: bpf downstream in\n"
        f"name {vlan}:downstream {bpf}\n"
        f"connect {bpf}: {interface}: out upper\n"
    )
    return [NGCTL, "-f", "-"], script.encode()


def let_through(interface: str) -> list[str]:
    """What comes from above (nothing does today) goes down unchanged."""
    everything = (Instruction(6, 0, 0, WHOLE_FRAME),)
    return _set_program(interface, "out", "in", "in", everything)


def set_program(interface: str, program: Iterable[Instruction]) -> list[str]:
    """Exchange a guard's program: one message, so that there is no time without one.

    As an argument, because a line of ngctl -f ends at 2047 bytes.
    """
    return _set_program(interface, "in", "out", "", tuple(program))


def _set_program(interface: str, hook: str, match: str, other: str, program: tuple[Instruction, ...]) -> list[str]:
    instructions = " ".join(_instruction(instruction) for instruction in program)
    message = (
        f'{{ thisHook="{hook}" ifMatch="{match}" ifNotMatch="{other}" '
        f"bpf_prog_len={len(program)} bpf_prog=[ {instructions} ] }}"
    )
    return [NGCTL, "msg", f"{bpf_node(interface)}:", "setprogram", message]


def _instruction(instruction: Instruction) -> str:
    """Fields that are zero are left out: the kernel takes them for zero."""
    fields = zip(instruction._fields, instruction, strict=True)
    return "{ " + " ".join(f"{name}={value}" for name, value in fields if value) + " }"


def remove(interface: str) -> list[list[str]]:
    """Take a guard away; every frame passes then."""
    return [[NGCTL, "shutdown", f"{node}:"] for node in (bpf_node(interface), vlan_node(interface))]


def list_names(token: int) -> bytes:
    """The message that asks any node of a stack for the names of all."""
    return _HEADER.pack(_VERSION, 0, 0, 0, LIST_NAMES, 0, token, _GENERIC, b"listnames")


def address(path: str) -> bytes:
    """struct sockaddr_ng of a node's path."""
    data = path.encode() + b"\0"
    return struct.pack("=BB", 2 + len(data), 32) + data


def parse_names(answer: bytes) -> dict[str, tuple[str, int]]:
    """name -> (type, hooks) from the answer to `list_names`; raises ValueError when it is something else."""
    if len(answer) < _HEADER.size + 4 or answer[0] != _VERSION:
        raise ValueError("netgraph answered with something that is no list of names")
    (count,) = struct.unpack_from("=I", answer, _HEADER.size)
    found = {}
    for number in range(count):
        name, kind, _, hooks = _NODE.unpack_from(answer, _HEADER.size + 4 + number * _NODE.size)
        found[_text(name)] = (_text(kind), hooks)
    return found


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode(errors="replace")
