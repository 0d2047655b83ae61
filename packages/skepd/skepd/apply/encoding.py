"""Steps as JSON, so that a journal holds a whole plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from skep_helper import codec

from skepd.model.names import Kind, Ref
from skepd.model.objects import Gate
from skepd.plan.steps import AwaitGate, PullImage, Step, TextChange, Work


def encode_step(step: Step) -> dict[str, Any]:
    return {
        "verb": step.verb,
        "ref": str(step.ref),
        "summary": step.summary,
        "stage": step.stage,
        "volatile": step.volatile,
        "requests": codec.encode(step.requests),
        "undo": None if step.undo is None else codec.encode(step.undo),
        "work": _encode_work(step.work),
        "text": _encode_text(step.text),
    }


def decode_step(data: dict[str, Any]) -> Step:
    """The inverse of encode_step; raises Rejected, KeyError or ValueError for what it did not write."""
    return Step(
        verb=data["verb"],
        ref=_ref(data["ref"]),
        summary=data["summary"],
        stage=data["stage"],
        volatile=data["volatile"],
        requests=codec.decode_any(data["requests"]),
        undo=None if data["undo"] is None else codec.decode_any(data["undo"]),
        work=_decode_work(data["work"]),
        text=_decode_text(data["text"]),
    )


def _ref(text: str) -> Ref:
    kind, _, name = text.partition("/")
    return Ref(Kind(kind), name)


def _encode_work(work: Work | None) -> dict[str, Any] | None:
    return None if work is None else {"work": type(work).__name__, **asdict(work)}


def _decode_work(data: dict[str, Any] | None) -> Work | None:
    if data is None:
        return None
    fields = {key: value for key, value in data.items() if key != "work"}
    if data["work"] == "PullImage":
        return PullImage(**{**fields, "sources": tuple(fields["sources"])})
    gate = fields.pop("gate")
    return AwaitGate(gate=Gate(**gate) if gate else None, **fields)


def _encode_text(change: TextChange | None) -> dict[str, Any] | None:
    return None if change is None else {"ref": str(change.ref), "before": change.before, "after": change.after}


def _decode_text(data: dict[str, Any] | None) -> TextChange | None:
    return None if data is None else TextChange(ref=_ref(data["ref"]), before=data["before"], after=data["after"])
