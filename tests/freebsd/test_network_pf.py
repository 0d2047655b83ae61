"""pf: what is generated, character by character and by what it means; what pfctl shows, as it was recorded."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pf_evaluator import Packet, judge
from skep_helper.freebsd.network import pf, rules
from skep_helper.freebsd.network.rules import Flow
from skep_helper.handlers import Failure
from skep_helper.vocabulary import FilterRule, PortSpec, Rejected

TRANSCRIPTS = Path(__file__).parent / "transcripts"
D = "0123456789abcdef"


def port(**fields: object) -> PortSpec:
    known = {"name": "g.n0", "network": "net", "digest": D, "rules_digest": D, "mac": "02:00:00:00:00:05"}
    return PortSpec(**{**known, **fields})  # type: ignore[arg-type]


def allow(direction: str, family: str = "ipv4", **fields: object) -> FilterRule:
    return FilterRule(direction=direction, family=family, **fields)  # type: ignore[arg-type]


ALWAYS = """\
pass in quick on t0 inet proto udp from any port 68 to any port 67 no state
pass in quick on t0 inet6 proto udp from any port 546 to any port 547 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 133 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 135 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 136 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 131 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 132 no state
pass in quick on t0 inet6 proto icmp6 all icmp6-type 143 no state
pass out quick on t0 inet proto udp from any port 67 to any port 68 no state
pass out quick on t0 inet6 proto udp from any port 547 to any port 546 no state
pass out quick on t0 inet6 proto icmp6 all icmp6-type 134 no state
pass out quick on t0 inet6 proto icmp6 all icmp6-type 135 no state
pass out quick on t0 inet6 proto icmp6 all icmp6-type 136 no state
pass out quick on t0 inet6 proto icmp6 all icmp6-type 130 no state
"""


def test_a_port_without_rules() -> None:
    assert rules.text("t0", port()) == ALWAYS


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (allow("out"), "pass in quick on t0 inet from any to any flags S/SA keep state (if-bound)"),
        (
            allow("in", protocol="tcp", first=80, last=90, remote="10.0.0.0/24"),
            "pass out quick on t0 inet proto tcp from 10.0.0.0/24 to any port 80:90 flags S/SA keep state (if-bound)",
        ),
        (
            allow("in", "ipv6", protocol="udp", first=53, group="web"),
            "pass out quick on t0 inet6 proto udp from <gecc519b9df4ff5e07a7b43f2> to any port 53 "
            "keep state (if-bound)",
        ),
        (
            allow("out", "ipv6", protocol="icmp", first=128, last=0, stateless=True),
            "pass in quick on t0 inet6 proto icmp6 from any to any icmp6-type 128 code 0 no state",
        ),
        (allow("in", number=47), "pass out quick on t0 inet proto 47 from any to any keep state (if-bound)"),
        (allow("in", protocol="sctp"), "pass out quick on t0 inet proto 132 from any to any keep state (if-bound)"),
        (allow("in", protocol="tcp", stateless=True), "pass out quick on t0 inet proto tcp from any to any no state"),
    ],
)
def test_a_rule(rule: FilterRule, line: str) -> None:
    expected = f'{line} label "{rules.label(rule)}"\n'
    if rule.group:
        expected = expected.replace("gecc519b9df4ff5e07a7b43f2", rules.table("web"))
    assert rules.text("t0", port(rules=(rule,))) == ALWAYS + expected


def test_an_unfiltered_port_passes_and_tracks() -> None:
    assert rules.text("t0", port(filtered=False, rules=(allow("in"),))) == (
        "pass quick on t0 all flags S/SA keep state (if-bound)\npass quick on t0 all no state\n"
    )


def test_what_pf_cannot_hold_is_refused() -> None:
    with pytest.raises(Failure, match=r"g\.n0.*SCTP"):
        rules.check(port(rules=(allow("in", protocol="sctp", first=5),)))
    with pytest.raises(Rejected, match="256"):
        rules.check(port(rules=(allow("in", number=256),)))
    rules.check(port(rules=(allow("in", protocol="sctp"), allow("in", number=255))))


def test_names_fit_into_pf() -> None:
    assert len(rules.table("a" * 63)) < 32
    assert rules.table("a") != rules.table("b")
    assert len(rules.label(allow("out"))) < 64


# -- the rules agree with what a security group means

ADDRESSES = {"ipv4": ("10.0.0.1", "10.0.0.9", "10.0.1.1"), "ipv6": ("fd00::1", "fd00::9", "fd01::1")}
PREFIXES = {"ipv4": ("10.0.0.0/24", "10.0.0.9/32", "0.0.0.0/0"), "ipv6": ("fd00::/64", "fd00::9/128", "::/0")}
GROUPS = {"a": ["10.0.0.1/32", "fd00::/64"], "b": ["10.0.1.0/24"]}
FAMILIES = st.sampled_from(("ipv4", "ipv6"))


@st.composite
def filter_rules(draw: st.DrawFn) -> FilterRule:
    family, protocol = draw(FAMILIES), draw(st.sampled_from(("", "tcp", "udp", "icmp", "sctp")))
    fields: dict[str, object] = {}
    if protocol in ("tcp", "udp"):
        fields["first"] = draw(st.sampled_from((-1, 0, 80, 443)))
        fields["last"] = draw(st.sampled_from((-1, 443, 500)))
    elif protocol == "icmp":
        fields["first"] = draw(st.sampled_from((-1, 8, 128)))
        fields["last"] = draw(st.sampled_from((-1, 0, 1))) if fields["first"] != -1 else -1
    elif not protocol:
        fields["number"] = draw(st.sampled_from((0, 47, 6)))
    remote = draw(st.sampled_from((None, "prefix", "group")))
    if remote == "prefix":
        fields["remote"] = draw(st.sampled_from(PREFIXES[family]))
    elif remote:
        fields["group"] = draw(st.sampled_from((*GROUPS, "nobody")))
    direction = draw(st.sampled_from(("in", "out")))
    return allow(direction, family, protocol=protocol, stateless=draw(st.booleans()), **fields)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    family = draw(FAMILIES)
    kinds = draw(st.sampled_from((8, 128, 0)))
    return Packet(
        way=draw(st.sampled_from(("in", "out"))),
        source=draw(st.sampled_from(ADDRESSES[family])),
        destination=draw(st.sampled_from(ADDRESSES[family])),
        protocol=draw(st.sampled_from((6, 17, 132, 47, 1 if family == "ipv4" else 58))),
        port=draw(st.sampled_from((0, 79, 80, 81, 443, 444, 500, 501))),
        source_port=1000,
        icmp=(kinds, draw(st.sampled_from((0, 1)))),
        flags=draw(st.sampled_from(("S", "A"))),
    )


def meant(spec: PortSpec, packet: Packet) -> str:
    """What security groups say, from the words of the vocabulary alone."""
    direction = "out" if packet.way == "in" else "in"
    fitting = [rule for rule in spec.rules if rule.direction == direction and fits(rule, packet)]
    if packet.protocol == 6 and packet.flags != "S":
        return "pass" if any(rule.stateless for rule in fitting) else "drop"
    if any(not rule.stateless for rule in fitting):
        return "state"
    return "pass" if fitting else "drop"


def fits(rule: FilterRule, packet: Packet) -> bool:
    other = ipaddress.ip_address(packet.source if rule.direction == "in" else packet.destination)
    if f"ipv{other.version}" != rule.family:
        return False
    allowed = GROUPS.get(rule.group, []) if rule.group else [rule.remote] if rule.remote else PREFIXES[rule.family][2:]
    if not any(other in ipaddress.ip_network(prefix) for prefix in allowed):
        return False
    if rule.protocol in ("", "sctp"):
        return (132 if rule.protocol else rule.number) in (0, packet.protocol)
    if rule.protocol == "icmp":
        return packet.protocol in (1, 58) and all(
            want in (-1, got) for want, got in zip((rule.first, rule.last), packet.icmp, strict=True)
        )
    ends = [end for end in (rule.first, rule.last) if end >= 0]
    first = max(rule.first, 0)
    last = rule.last if rule.last >= 0 else rule.first
    return packet.protocol == {"tcp": 6, "udp": 17}[rule.protocol] and (not ends or first <= packet.port <= last)


@given(st.lists(filter_rules(), max_size=6), packets())
def test_rules_mean_what_security_groups_say(chosen: list[FilterRule], packet: Packet) -> None:
    spec = port(rules=tuple(chosen))
    tables = {rules.table(name): addresses for name, addresses in GROUPS.items()}
    assert judge(rules.text("t0", spec), packet, "t0", tables) == meant(spec, packet)
    assert judge(rules.text("t0", spec), packet, "t1", tables) == "drop"


@given(st.lists(filter_rules(), max_size=6), packets())
def test_a_flow_is_kept_only_when_it_could_begin(chosen: list[FilterRule], packet: Packet) -> None:
    """Kept and begun agree; of ICMP, whose states do not tell the type, less is kept and nothing more."""
    spec = port(rules=tuple(chosen))
    ported = packet.protocol in (6, 17)
    flow = Flow(packet.source, packet.destination, packet.protocol, packet.port if ported else -1)
    begins = meant(spec, Packet(**{**vars(packet), "flags": "S"})) == "state"
    kept = rules.allows(spec, "out" if packet.way == "in" else "in", flow, GROUPS)
    assert kept <= begins if packet.protocol in (1, 58) else kept == begins


# -- main rulesets and argv


def test_the_main_ruleset_of_a_network() -> None:
    assert pf.main_ruleset() == (
        "set skip on lo0\nset state-policy if-bound\nset block-policy drop\nscrub in inet all fragment reassemble\n"
        'block drop all\nanchor "open/*"\nanchor "sg/*"\n'
    )
    assert pf.main_ruleset(pf.NatLink("skm0", "169.254.0.2")) == (
        "set skip on lo0\nset state-policy if-bound\nset block-policy drop\nscrub in inet all fragment reassemble\n"
        "nat on skm0 inet from any to any -> 169.254.0.2\n"
        'block drop all\nanchor "open/*"\nanchor "sg/*"\npass out quick on skm0 inet all keep state (if-bound)\n'
    )
    assert pf.open_text("skv0") == "pass quick on skv0 all no state\n"


def test_argv() -> None:
    state = pf.State("t0", "in", Flow("10.0.0.1", "10.0.0.2", 6, 80), "559c006b00000001", "8b21ddcf")
    assert pf.load() == ["/sbin/pfctl", "-q", "-f", "-"]
    assert pf.load("sg/t0") == ["/sbin/pfctl", "-q", "-a", "sg/t0", "-f", "-"]
    assert pf.clear("sg/t0") == ["/sbin/pfctl", "-q", "-a", "sg/t0", "-F", "rules"]
    assert pf.replace_table("g1") == ["/sbin/pfctl", "-q", "-t", "g1", "-T", "replace", "-f", "-"]
    assert pf.remove_table("g1") == ["/sbin/pfctl", "-q", "-t", "g1", "-T", "kill"]
    assert pf.show_states("t0") == ["/sbin/pfctl", "-i", "t0", "-vv", "-s", "states"]
    assert pf.end_states("t0") == ["/sbin/pfctl", "-q", "-i", "t0", "-F", "states"]
    assert pf.end_state(state) == ["/sbin/pfctl", "-q", "-k", "id", "-k", "559c006b00000001/8b21ddcf"]
    assert pf.end_states_of("fd00::1")[1] == ["/sbin/pfctl", "-q", "-k", "::/0", "-k", "fd00::1"]


# -- what pfctl shows


def block(transcript: str, command: str) -> str:
    """What a recorded command wrote to stdout."""
    text = (TRANSCRIPTS / transcript).read_text()
    after = text.split(f"$ {command}", 1)[1].split("\n", 1)[1]
    return after.removeprefix("--- stdout\n").split("\n--- ", 1)[0] + "\n"


def test_states_as_recorded() -> None:
    found = pf.states(block("06-pf.txt", "pfctl -vvss | head -30"))
    assert found[0] == pf.State("all", "out", Flow("10.0.2.15", "10.0.2.3", 17, 53), "559c006b00000001", "8b21ddcf")
    assert {state.identity for state in found} >= {"559c006b00000001", "569c006b00000001", "579c006b00000001"}


RECORDED = """\
No ALTQ support in kernel
ALTQ related functions disabled
tap10 tcp 10.1.0.2:80 <- 10.1.0.1:1000       ESTABLISHED:ESTABLISHED
   [2299723776 + 2097152]  [3892510720 + 18874368]
   age 00:00:03, expires in 23:59:58, 2:1 pkts, 80:40 bytes, rule 1
   id: 0000000000000001 creatorid: 8b21ddcf gateway: 0.0.0.0
tap10 udp fd00::2[2000] <- fd00::1[1000]       SINGLE:MULTIPLE
   age 00:00:01, expires in 00:00:29, 1:1 pkts, 80:80 bytes, rule 3
   id: 0000000000000002 creatorid: 8b21ddcf gateway: ::
tap11 tcp 10.1.0.1:1000 -> 10.1.0.2:80       ESTABLISHED:ESTABLISHED
   id: 0000000000000003 creatorid: 8b21ddcf gateway: 0.0.0.0
tap11 ipv6-icmp fd00::1[7] -> fd00::2[128]       0:0
   id: 0000000000000004 creatorid: 8b21ddcf gateway: ::
tap11 47 10.1.0.1 -> 10.1.0.2       MULTIPLE:SINGLE
   id: 0000000000000005 creatorid: 8b21ddcf gateway: 0.0.0.0
up0 udp 169.254.0.2:50000 (10.1.0.1:1000) -> 192.0.2.1:53       SINGLE:MULTIPLE
   id: 0000000000000006 creatorid: 8b21ddcf gateway: 0.0.0.0
"""
"""Head lines of transcript 21 with the lines below each that pfctl's print_state adds at -vv."""


def test_states_of_every_kind() -> None:
    assert [(state.interface, state.direction, state.flow) for state in pf.states(RECORDED)] == [
        ("tap10", "in", Flow("10.1.0.1", "10.1.0.2", 6, 80)),
        ("tap10", "in", Flow("fd00::1", "fd00::2", 17, 2000)),
        ("tap11", "out", Flow("10.1.0.1", "10.1.0.2", 6, 80)),
        ("tap11", "out", Flow("fd00::1", "fd00::2", 58)),
        ("tap11", "out", Flow("10.1.0.1", "10.1.0.2", 47)),
        ("up0", "out", Flow("169.254.0.2", "192.0.2.1", 17, 53)),
    ]


def test_a_line_that_is_no_state_stops_us() -> None:
    with pytest.raises(ValueError, match="something new"):
        pf.states("something new\n")


def test_anchors_as_recorded() -> None:
    assert list(pf.anchors(block("06-pf.txt", "pfctl -a lab -sA"))) == ["lab/fwd", "lab/tab", "lab/web"]
