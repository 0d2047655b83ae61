"""A plan as data: steps that say what to do and how to undo it. Carried out by apply without further choices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from skepd.model.names import Ref
from skepd.model.objects import Gate

Request = Any
"""Any request of skep_helper.vocabulary."""


@dataclass(frozen=True, kw_only=True)
class TextChange:
    """Write (or, with after None, remove) the definition of an object. before None: there was none."""

    ref: Ref
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class PullImage:
    """Work of skepd itself: fetch, verify and publish an image."""

    image: str
    version: str
    sources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AwaitGate:
    """Work of skepd itself: wait until a guest is healthy; `delay` seconds are waited in any case."""

    guest: str
    gate: Gate | None
    delay: int = 0
    network: str | None = None
    address: str | None = None


Work = PullImage | AwaitGate


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a plan.

    stage: steps of one stage are independent and may run at the same time; stages run in order.
    Exactly one of requests, work, text is the step's content.
    undo: requests that bring back what was; () when nothing needs undoing; None when it cannot be undone (such
    steps stand last). volatile: its effect is lost when the host loses power, so recovery runs it again.
    Every step may be repeated.
    """

    verb: str
    ref: Ref
    summary: str
    stage: int = 0
    requests: tuple[Request, ...] = ()
    undo: tuple[Request, ...] | None = ()
    work: Work | None = None
    text: TextChange | None = None
    volatile: bool = False


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something that the plan does not do and the user should know: "restart pending", "not built yet".

    The text stands alone: it names its object.
    """

    ref: Ref | None
    text: str
    refuses: bool = False
    """Whether apply must refuse the plan because of this note."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """confirm: whether the plan can cut the line to the host, so that it must be confirmed or is rolled back."""

    steps: tuple[Step, ...] = ()
    notes: tuple[Note, ...] = field(default=())
    confirm: bool = False
