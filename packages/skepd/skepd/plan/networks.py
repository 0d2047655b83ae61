"""Steps for networks, remote groups and routers."""

from __future__ import annotations

from skep_helper.vocabulary import ApplyNetwork, ApplyRouter, RemoveNetwork, RemoveRouter, SetGroup

from skepd.model.names import Kind, Ref
from skepd.model.objects import Network

from .builder import Phase
from .checks import check_network
from .context import Context
from .steps import Request, Step
from .translate_port import collapsed
from .wires import turns


def plan_networks(context: Context) -> None:
    turn = turns(context.before.networks, context.after.networks) if context.changes else {}
    for name, network in context.after.networks.items():
        ref = Ref(Kind.NETWORK, name)
        reading = context.observed.network_of.get(name)
        problem = check_network(network, context.facts)
        if name in turn and turn[name] is None:
            problem = "takes the wire of a network that takes its own in turn: change one after the other"
        if problem:
            context.problem(ref, problem)
            continue
        spec = context.translated(Kind.NETWORK, name, context.now.network)
        if spec is None or (reading is not None and reading.digest == spec.digest):
            continue
        undo: tuple[Request, ...] = ()
        if reading is None:
            undo = (RemoveNetwork(network=name),)
        elif (old := context.previous(context.was.network, name)) is not None and old != spec:
            undo = (ApplyNetwork(network=old),)
        words = _network_words(network)
        repair = reading is not None and reading.missing
        summary = f"create network {name}, {words}" if reading is None else f"bring network {name} up to date, {words}"
        if repair:
            summary = f"repair network {name}: {repair}"
        _touch_uplink(context, network)
        _touch_uplink(context, context.before.networks.get(name, network))
        request = ApplyNetwork(network=spec)
        verb = "create" if reading is None else "change"
        step = Step(verb=verb, ref=ref, summary=summary, requests=(request,), undo=undo, volatile=True)
        context.build.add(Phase.NETWORK, step, turn.get(name) or 0)
    for name in context.differences[Kind.NETWORK].removed:
        if name in context.observed.network_of:
            _remove_network(context, name)


def _network_words(network: Network) -> str:
    place = f"VLAN {network.vlan} of " if network.kind == "vlan" else ""
    return f"{place}{network.uplink}" if network.uplink else network.kind


def _touch_uplink(context: Context, network: Network) -> None:
    if network.uplink is not None and network.uplink in context.facts.management:
        context.confirm = True


def _remove_network(context: Context, name: str) -> None:
    ref = Ref(Kind.NETWORK, name)
    for port in context.observed.networks.ports:
        if port.network == name and port.name not in context.before.ports and port.name not in context.after.ports:
            text = f"network {name} cannot go: port {port.name} in it is in no definition; remove that port first"
            context.build.note(ref, text, refuses=True)
    old = context.previous(context.was.network, name)
    # Its groups go with it, and come back with it.
    groups = [
        SetGroup(network=name, group=group, addresses=addresses)
        for (network, group), addresses in sorted(context.observed.group_of.items())
        if network == name
    ]
    undo = (ApplyNetwork(network=old), *groups) if old is not None else ()
    _touch_uplink(context, context.before.networks[name])
    request = RemoveNetwork(network=name)
    step = Step(verb="remove", ref=ref, summary=f"remove network {name}", requests=(request,), undo=undo, volatile=True)
    context.build.add(Phase.DETACH_NETWORK, step)


def plan_groups(context: Context) -> None:
    """Set the addresses of remote groups; remove those that no rule names any more from networks that stay."""
    wanted, there = context.now.groups, context.observed.group_of
    for key, addresses in wanted.items():
        network, _ = key
        had = there.get(key, ())
        if network not in context.after.networks or Ref(Kind.NETWORK, network) in context.skipped:
            continue
        if had != addresses and collapsed(had) != addresses:
            _set_group(context, Phase.GROUP, key, addresses, had)
    for key, had in there.items():
        if key not in wanted and key[0] in context.after.networks and had:
            _set_group(context, Phase.CLEAR_GROUP, key, (), had)


def _set_group(
    context: Context, phase: Phase, key: tuple[str, str], addresses: tuple[str, ...], had: tuple[str, ...]
) -> None:
    network, group = key
    words = f"{len(addresses)} prefixes" if addresses else "none, no rule names it"
    step = Step(
        verb="change",
        ref=Ref(Kind.FILTER, group),
        summary=f"set the members of filter {group} in network {network}: {words}",
        requests=(SetGroup(network=network, group=group, addresses=addresses),),
        undo=(SetGroup(network=network, group=group, addresses=had),),
        volatile=True,
    )
    context.build.add(phase, step)


def plan_routers(context: Context) -> None:
    going = set(context.differences[Kind.NETWORK].removed)
    for name in context.after.routers:
        _plan_router(context, name, going)
    for name in context.differences[Kind.ROUTER].removed:
        if name in context.observed.router_of:
            _remove_router(context, name, f"remove router {name}")


def _plan_router(context: Context, name: str, going: set[str]) -> None:
    ref = Ref(Kind.ROUTER, name)
    router, reading = context.after.routers[name], context.observed.router_of.get(name)
    for leg in router.legs:
        if leg.network not in context.after.networks:
            context.problem(ref, f'no network "{leg.network}" is defined for a leg of router {name}', dangling=True)
            return
        if Ref(Kind.NETWORK, leg.network) in context.skipped:
            context.skipped.add(ref)
            return
    spec = context.translated(Kind.ROUTER, name, context.now.router)
    if spec is None or (reading is not None and reading.digest == spec.digest):
        return
    old = context.previous(context.was.router, name) if reading is not None else None
    if old is not None and going.intersection(leg.network for leg in old.legs):
        # Its leg must leave a network that goes before the new legs' networks may be there: make it anew.
        _remove_router(context, name, f"take down router {name}: a network of it goes")
        reading = None
    undo: tuple[Request, ...] = ()
    if reading is None:
        undo = (RemoveRouter(router=name),)
    elif old is not None and old != spec:
        undo = (ApplyRouter(router=old),)
    verb, words = ("create", "create router") if reading is None else ("change", "bring up to date router")
    networks = ", ".join(leg.network for leg in router.legs)
    request = ApplyRouter(router=spec)
    summary = f"{words} {name} between {networks}"
    step = Step(verb=verb, ref=ref, summary=summary, requests=(request,), undo=undo, volatile=True)
    context.build.add(Phase.ROUTER, step)


def _remove_router(context: Context, name: str, summary: str) -> None:
    old = context.previous(context.was.router, name)
    step = Step(
        verb="remove",
        ref=Ref(Kind.ROUTER, name),
        summary=summary,
        requests=(RemoveRouter(router=name),),
        undo=(ApplyRouter(router=old),) if old is not None else (),
        volatile=True,
    )
    context.build.add(Phase.DETACH_ROUTER, step)
