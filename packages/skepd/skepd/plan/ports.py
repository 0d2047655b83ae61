"""Steps for ports: a changed rule touches its port and nothing else."""

from __future__ import annotations

from skep_helper.vocabulary import ApplyPort, PortSpec, RemovePort
from skep_helper.vocabulary.network import PortReading

from skepd.model.names import Kind, Ref

from .builder import Phase
from .checks import check_port
from .context import Context
from .steps import Request, Step
from .translate_port import same_but_rules


def plan_ports(context: Context) -> set[str]:
    """Returns the ports that are made anew: the card of a guest that runs already is not connected to them."""
    remade: set[str] = set()
    readings, make, skipped = context.observed.port_of, context.now.port, context.skipped
    networks = context.after.networks
    for name, port in context.after.ports.items():
        reading = readings.get(name)
        if port.network not in networks:
            context.problem(Ref(Kind.PORT, name), f'no network "{port.network}" is defined', dangling=True)
            continue
        if port.vlans and (problem := check_port(port, context.facts)):
            context.problem(Ref(Kind.PORT, name), problem)
            continue
        if skipped and Ref(Kind.NETWORK, port.network) in skipped:
            skipped.add(Ref(Kind.PORT, name))
            continue
        spec = context.translated(Kind.PORT, name, make)
        if spec is not None and (reading is None or reading.digest != spec.digest):
            _apply_port(context, spec, reading, remade)
    for name in context.differences[Kind.PORT].removed:
        if name in readings:
            _remove_port(context, readings[name], f"remove port {name} from network {readings[name].network}")
    return remade


def _apply_port(context: Context, spec: PortSpec, reading: PortReading | None, remade: set[str]) -> None:
    old: PortSpec | None = context.previous(context.was.port, spec.name) if reading is not None else None
    if reading is not None and reading.network != spec.network:
        _remove_port(context, reading, f"take port {spec.name} out of network {reading.network}")
        reading = None
    undo: tuple[Request, ...] = ()
    if reading is None:
        remade.add(spec.name)
        verb, summary = "create", f"create port {spec.name} in network {spec.network}{_addresses(spec)}"
        undo = (RemovePort(port=spec.name, network=spec.network),)
    else:
        verb, summary = "change", f"bring port {spec.name} up to date{_addresses(spec)}"
        if old is not None and old != spec:
            undo = (ApplyPort(port=old),)
            if same_but_rules(old, spec):
                summary = f"change the rules of port {spec.name}"
    step = Step(
        verb=verb,
        ref=Ref(Kind.PORT, spec.name),
        summary=summary,
        requests=(ApplyPort(port=spec),),
        undo=undo,
        volatile=True,
    )
    context.build.add(Phase.PORT, step)


def _addresses(spec: PortSpec) -> str:
    return f", {', '.join(spec.addresses)}" if spec.addresses else ""


def _remove_port(context: Context, reading: PortReading, summary: str) -> None:
    old = context.previous(context.was.port, reading.name)
    step = Step(
        verb="remove",
        ref=Ref(Kind.PORT, reading.name),
        summary=summary,
        requests=(RemovePort(port=reading.name, network=reading.network),),
        undo=(ApplyPort(port=old),) if old is not None and old.network == reading.network else (),
        volatile=True,
    )
    context.build.add(Phase.DETACH, step)
