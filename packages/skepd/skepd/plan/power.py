"""Steps that start and stop guests."""

from __future__ import annotations

from skep_helper.vocabulary import GuestReading, StartGuest, StopGuest

from skepd.model.names import Kind, Ref
from skepd.model.objects import Guest

from .builder import Phase, guest_ref
from .context import Context
from .images import Images
from .order import BootOrder, Wave, numbered
from .steps import AwaitGate, Request, Step
from .storage import ALIVE

_CLEAN_ENDINGS = ("power-off", "halt", "")


class Power:
    """Decides for every guest whether it starts, stops or both; then puts starts and stops in boot order."""

    def __init__(self, context: Context, images: Images, remade: set[str]) -> None:
        self._context, self._images, self._remade = context, images, remade
        self._order = BootOrder({**context.before.guests, **context.after.guests})
        self._stops: dict[str, Guest] = {}
        self._starts: list[Guest] = []

    def plan(self) -> None:
        context = self._context
        readings = context.observed.guest_of
        for name, guest in context.after.guests.items():
            reading = readings.get(name)
            if context.skipped and self._is_skipped(guest):
                continue
            if guest.power != "on":
                if context.changes:
                    # Not needed now, but a reference that nothing answers is refused when it is written.
                    context.translated(Kind.GUEST, name, context.now.guest)
                if reading is not None and reading.state in ALIVE:
                    self._stops[name] = guest
            elif reading is not None and reading.state in ALIVE:
                self._check_running(guest, reading)
            elif self._should_start(guest, reading):
                self._start(guest)
        for name in context.differences[Kind.GUEST].removed:
            reading = readings.get(name)
            if reading is not None and reading.state in ALIVE:
                self._stops[name] = context.before.guests[name]
        self._add_stops()
        self._add_starts()

    def _is_skipped(self, guest: Guest) -> bool:
        """A guest that lacks something it needs is neither started nor restarted."""
        context = self._context
        lacking = [nic.port for nic in guest.nics if Ref(Kind.PORT, nic.port) in context.skipped]
        if lacking and guest_ref(guest.name) not in context.skipped:
            text = f"guest {guest.name} is left as it is: port {lacking[0]} has a problem"
            context.build.note(guest_ref(guest.name), text)
        return bool(lacking) or guest_ref(guest.name) in context.skipped

    def _check_running(self, guest: Guest, reading: GuestReading) -> None:
        context = self._context
        spec = context.translated(Kind.GUEST, guest.name, context.now.guest)
        if spec is None:
            return
        cut = self._remade and any(nic.port in self._remade for nic in guest.nics)
        if reading.digest == spec.digest and not cut:
            return
        why = "its definition changed" if reading.digest != spec.digest else "a port of it was made anew"
        if not context.options.may_restart(guest.name):
            context.build.note(guest_ref(guest.name), f"restart of guest {guest.name} pending: {why}")
        else:
            self._stops[guest.name] = context.before.guests.get(guest.name, guest)
            self._start(guest)

    def _should_start(self, guest: Guest, reading: GuestReading | None) -> bool:
        """Whether a guest that is off, but should be on, starts now."""
        context, name = self._context, guest.name
        before = context.before.guests.get(name)
        folder = context.observed.folder_of.get(name)
        if folder is not None and not folder.promoted_here:
            context.build.note(guest_ref(name), f"guest {name} is a replica: promote it to start it here")
            return False
        if name in context.options.start or before is None or before.power != "on":
            return True
        if reading is None:
            if not guest.autostart:
                context.build.note(guest_ref(name), f"guest {name} is off since the host started (no autostart)")
            return guest.autostart
        if context.options.start_stopped:
            return True
        how = "powered itself off" if reading.ending in _CLEAN_ENDINGS else f"ended ({reading.ending})"
        text = f"guest {name} {how} and stays off: skep guest start {name}"
        context.build.note(guest_ref(name), text)
        return False

    def _start(self, guest: Guest) -> None:
        ref = guest_ref(guest.name)
        if guest.media:
            spec = self._context.translated(Kind.GUEST, guest.name, self._context.now.guest)
            if spec is None or not all(self._images.need(ref, one.image, one.version) for one in spec.media):
                return
        self._starts.append(guest)

    def _add_stops(self) -> None:
        waves = {name: self._order.wave(name) for name in self._stops}
        numbers = numbered(waves.values())
        for name, guest in self._stops.items():
            old = self._context.previous(self._context.was.guest, name)
            request = StopGuest(guest=name, timeout=guest.boot.shutdown_timeout)
            undo = (StartGuest(guest=old),) if old is not None else ()
            # The last to start is the first to stop.
            sub = len(numbers) - 1 - numbers[waves[name]]
            self._add(Phase.STOP, sub, "stop", name, f"stop guest {name}", request, undo)

    def _add_starts(self) -> None:
        waves: dict[str, Wave] = {guest.name: self._order.wave(guest.name) for guest in self._starts}
        numbers = numbered(waves.values())
        for guest in self._starts:
            spec = self._context.translated(Kind.GUEST, guest.name, self._context.now.guest)
            if spec is None:
                continue
            sub = 2 * numbers[waves[guest.name]]
            undo = (StopGuest(guest=guest.name, timeout=guest.boot.shutdown_timeout),)
            summary = f"start guest {guest.name}"
            self._add(Phase.START, sub, "start", guest.name, summary, StartGuest(guest=spec), undo)
            if guest.boot.gate is not None or guest.boot.delay:
                self._add_gate(guest, sub + 1)

    def _add_gate(self, guest: Guest, sub: int) -> None:
        gate = guest.boot.gate
        network, address = self._gate_address(guest)
        if gate is not None and gate.kind in ("ping", "tcp") and address is None:
            text = f"guest {guest.name} has no fixed address for its {gate.kind} gate: give the gate an address"
            self._context.problem(guest_ref(guest.name), text)
            return
        work = AwaitGate(guest=guest.name, gate=gate, delay=guest.boot.delay, network=network, address=address)
        what = f"{gate.kind} answers" if gate is not None else "it had its time"
        summary = f"wait until guest {guest.name} is up ({what})"
        step = Step(verb="await", ref=guest_ref(guest.name), summary=summary, work=work, volatile=True)
        self._context.build.add(Phase.START, step, sub)

    def _gate_address(self, guest: Guest) -> tuple[str | None, str | None]:
        """The network to try from and the address: the gate's, else the first of the guest's first port with one."""
        gate, ports = guest.boot.gate, self._context.after.ports
        wanted = gate.address if gate is not None else None
        candidates = [ports[nic.port] for nic in guest.nics]
        for port in candidates:
            if port.addresses and (wanted is None or wanted in port.addresses):
                return port.network, wanted or port.addresses[0]
        return (candidates[0].network if candidates else None), wanted

    def _add(
        self, phase: Phase, sub: int, verb: str, guest: str, summary: str, request: Request, undo: tuple[Request, ...]
    ) -> None:
        step = Step(verb=verb, ref=guest_ref(guest), summary=summary, requests=(request,), undo=undo, volatile=True)
        self._context.build.add(phase, step, sub)
