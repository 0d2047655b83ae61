"""Definitions as text on disk: a guest's beside its data, everything else in the state folder.

The store is read once at start and kept in memory; every write goes to disk first. Texts are the truth: after a
crash the store is what the texts say.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from skepd.files import Files, discard, replace, temporary
from skepd.model.definitions import parse_object, render_object
from skepd.model.desired import KIND_OF, Desired, ref_of
from skepd.model.errors import DefinitionError
from skepd.model.names import Kind, Ref
from skepd.model.objects import Object
from skepd.plan.steps import TextChange

PARTS = {
    Kind.IMAGE: "images",
    Kind.FILTER: "filters",
    Kind.NETWORK: "networks",
    Kind.ROUTER: "routers",
    Kind.PORT: "ports",
    Kind.GUEST: "guests",
}


class Store:
    """state: folder of everything but guests, with a folder for each kind. guests: the pool's folder of guests.

    broken: files that could not be read, with the reason; what they define is left alone until they are mended.
    """

    def __init__(self, files: Files, state: Path, guests: Path) -> None:
        self._files, self._state, self._guests = files, state, guests
        self._lock = threading.Lock()
        self._texts: dict[Ref, str] = {}
        self._desired = Desired()
        self._etags: dict[Ref, tuple[Object, str]] = {}
        self.broken: dict[Ref, str] = {}
        self._listeners: list[Callable[[Ref, bool], None]] = []
        self._sweep()
        self.load()

    @property
    def desired(self) -> Desired:
        return self._desired

    def listen(self, listener: Callable[[Ref, bool], None]) -> None:
        """listener(ref, exists) is called after each change, from the thread that changed it."""
        self._listeners.append(listener)

    def path(self, ref: Ref) -> Path:
        if ref.kind is Kind.GUEST:
            return self._guests / ref.name / "definition" / "guest.toml"
        return self._state / PARTS[ref.kind] / f"{ref.name}.toml"

    def load(self) -> None:
        """Read everything anew; only while nobody writes."""
        parts: dict[str, dict[str, Object]] = {part: {} for part in PARTS.values()}
        texts: dict[Ref, str] = {}
        broken: dict[Ref, str] = {}
        for ref in self._refs():
            try:
                text = self._files.read(self.path(ref)).decode()
                parts[PARTS[ref.kind]][ref.name] = self._parse(ref, text)
                texts[ref] = text
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, DefinitionError) as error:
                broken[ref] = str(error)
        with self._lock:
            self._texts, self.broken = texts, broken
            self._desired = Desired(**parts)  # type: ignore[arg-type]

    def write(self, change: TextChange) -> None:
        """Write or remove one definition, durably. Raises OSError, DefinitionError."""
        ref, path = change.ref, self.path(change.ref)
        with self._lock:
            if change.after is None:
                discard(self._files, path)
                self._texts.pop(ref, None)
            else:
                value = self._parse(ref, change.after)
                replace(self._files, path, change.after.encode())
                self._texts[ref] = change.after
            part = dict(getattr(self._desired, PARTS[ref.kind]))
            part.pop(ref.name, None)
            if change.after is not None:
                part[ref.name] = value
            self._desired = _with(self._desired, PARTS[ref.kind], part)
            self.broken.pop(ref, None)
            self._etags.pop(ref, None)
        for listener in self._listeners:
            listener(ref, change.after is not None)

    def etag(self, value: Object) -> str:
        """Of the definition's text, so that equal definitions have equal tags everywhere."""
        ref = ref_of(value)
        known = self._etags.get(ref)
        if known is None or known[0] is not value:
            # Rendering a thousand definitions would cost more than all the rest of listing them.
            known = self._etags[ref] = (value, hashlib.sha256(render_object(value).encode()).hexdigest()[:16])
        return known[1]

    def _refs(self) -> Iterator[Ref]:
        for kind, part in PARTS.items():
            if kind is not Kind.GUEST:
                for name in self._files.names(self._state / part):
                    if name.endswith(".toml") and not name.startswith("."):
                        yield Ref(kind, name.removesuffix(".toml"))
        for name in self._files.names(self._guests):
            yield Ref(Kind.GUEST, name)

    def _sweep(self) -> None:
        """Remove what writers that died left half-written."""
        folders = [self._state / part for kind, part in PARTS.items() if kind is not Kind.GUEST]
        guests = [self._guests / name / "definition" for name in self._files.names(self._guests)]
        for folder in (self._state, *folders, *guests):
            for name in filter(temporary, self._names(folder)):
                self._files.remove(folder / name)

    def _names(self, folder: Path) -> list[str]:
        try:
            return self._files.names(folder)
        except NotADirectoryError:
            return []

    def _parse(self, ref: Ref, text: str) -> Object:
        value = parse_object(ref.kind, text, str(self.path(ref)))
        if value.name != ref.name or KIND_OF[type(value)] is not ref.kind:
            raise DefinitionError(f"defines {value.name!r} but is the file of {ref}", "rename one of them")
        return value


def _with(desired: Desired, part: str, values: dict[str, Object]) -> Desired:
    parts = {name: getattr(desired, name) for name in PARTS.values()}
    return Desired(**{**parts, part: values})


def without(desired: Desired, ref: Ref) -> Desired:
    """The desired state without one object."""
    part = dict(getattr(desired, PARTS[ref.kind]))
    part.pop(ref.name, None)
    return _with(desired, PARTS[ref.kind], part)


def including(desired: Desired, value: Object) -> Desired:
    """The desired state with one object new or replaced."""
    kind = KIND_OF[type(value)]
    return _with(desired, PARTS[kind], {**getattr(desired, PARTS[kind]), value.name: value})


Changes = tuple[tuple[Ref, Object | None, Object | None], ...]
"""What becomes of definitions: (ref, value before, value after); None: there is none."""


def changes(before: Desired, after: Desired) -> Changes:
    """What leads from one desired state to another."""
    found: list[tuple[Ref, Object | None, Object | None]] = []
    for kind, part in PARTS.items():
        old, new = getattr(before, part), getattr(after, part)
        if old is new:
            continue
        changed = (name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        found += [(Ref(kind, name), old.get(name), new.get(name)) for name in changed]
    return tuple(found)


def amended(desired: Desired, values: Iterable[tuple[Ref, Object | None]]) -> Desired:
    """The desired state with these objects new, replaced or (None) gone."""
    parts: dict[str, dict[str, Object]] = {part: dict(getattr(desired, part)) for part in PARTS.values()}
    for ref, value in values:
        if value is None:
            parts[PARTS[ref.kind]].pop(ref.name, None)
        else:
            parts[PARTS[ref.kind]][ref.name] = value
    return Desired(**parts)  # type: ignore[arg-type]
