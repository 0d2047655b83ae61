"""Strict JSON for the vocabulary: unknown types, unknown or missing fields and wrong types are refused.

A message is written ``{"type": "StopGuest", "guest": "files", ...}``. Fields that have their default may be left
out; nothing else may. The same code writes requests, answers, and the steps of a journal.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Annotated, Any

from .vocabulary import fields
from .vocabulary.fields import Checked, Rejected


def _message_types() -> dict[str, type]:
    found: dict[str, type] = {}
    pending: list[type] = list(Checked.__subclasses__())
    for cls in pending:
        found[cls.__name__] = cls
    return found


MESSAGE_TYPES = _message_types()


def encode(value: Any) -> Any:
    """A message (or a container of messages) as JSON types; fields at their default are left out."""
    if isinstance(value, Checked):
        out: dict[str, Any] = {"type": type(value).__name__}
        for field in dataclasses.fields(value):  # type: ignore[arg-type]
            item = getattr(value, field.name)
            if field.default is not dataclasses.MISSING and item == field.default:
                continue
            out[field.name] = encode(item)
        return out
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(value: Any) -> Any:
    """The inverse of ``encode`` for one message; raises Rejected."""
    if not isinstance(value, dict):
        raise Rejected("a message is a JSON object")
    cls = MESSAGE_TYPES.get(value.get("type", "")) if isinstance(value.get("type"), str) else None
    if cls is None:
        raise Rejected(f"unknown message type {value.get('type')!r:.80}")
    return _decode_as(cls, value)


def decode_any(value: Any) -> Any:
    """Decode answers: messages, lists of messages (as tuples), plain JSON values."""
    if isinstance(value, list):
        return tuple(decode_any(item) for item in value)
    if isinstance(value, dict) and "type" in value:
        return decode(value)
    return value


def _decode_as(cls: Any, value: dict[str, Any]) -> Any:
    hints = fields.field_types(cls)
    unknown = [key for key in value if key != "type" and key not in hints]
    if unknown:
        raise Rejected(f"{cls.__name__}: unknown field {unknown[0]!r:.80}")
    arguments = {
        name: _value(hints[name], item, f"{cls.__name__}.{name}") for name, item in value.items() if name != "type"
    }
    try:
        return cls(**arguments)
    except TypeError as error:
        raise Rejected(f"{cls.__name__}: a field is missing ({error})") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """One field: only the JSON type is looked at here, the checks run when the message is built."""
    origin = typing.get_origin(hint)
    if origin is Annotated:
        return _value(typing.get_args(hint)[0], value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return _value(inner[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise Rejected(f"{where}: not a list")
        if len(value) > 100_000:
            raise Rejected(f"{where}: too many entries")
        return tuple(_value(typing.get_args(hint)[0], item, where) for item in value)
    if fields.is_message(hint):
        if not isinstance(value, dict) or value.get("type", hint.__name__) != hint.__name__:
            raise Rejected(f"{where}: not a {hint.__name__}")
        return _decode_as(hint, value)
    return _scalar(hint, value, where)


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise Rejected(f"{where}: {value!r:.80} is not {hint.__name__}")
    if hint is str and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair is JSON, but no text that could be written anywhere.
            raise Rejected(f"{where}: {value!r:.80} is not text in Unicode") from None
    return value


def dumps(value: Any) -> bytes:
    return json.dumps(encode(value), separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN; raises Rejected."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise Rejected("a key stands twice in one object")
        return out

    def constant(name: str) -> Any:
        raise Rejected(f"{name} is not a number")

    try:
        return json.loads(data, object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, Rejected) else Rejected(f"not JSON: {error}") from None
