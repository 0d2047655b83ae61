"""Strict decoding: JSON and query strings into Structs and model dataclasses; an unknown key is an error."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from skepd.model.errors import DefinitionError, nearest

from .problems import ApiError

T = TypeVar("T")


def parse(body: bytes) -> Any:
    """JSON as Python values. Duplicate keys, lone surrogates and NaN are errors. Raises ApiError 400."""
    try:
        value = msgspec.json.decode(body)
        json.loads(body, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"the body is not JSON that Skep takes: {reason}") from None
    return value


def convert(value: Any, wanted: type[T], where: str = "body") -> T:
    """A parsed value as `wanted`, with nothing left over. Raises ApiError 400, or what the model's own check raises."""
    try:
        check_keys(value, wanted, where)
        return msgspec.convert(value, wanted)
    except msgspec.ValidationError as error:
        if isinstance(error.__cause__, DefinitionError):
            raise error.__cause__ from None  # the model's own check: says more than msgspec's wrapping of it
        raise ApiError(400, f"{where}: {readable(error)}") from None
    except RecursionError:
        raise ApiError(400, f"{where}: nested too deeply") from None


def query(pairs: Iterable[tuple[str, str]], wanted: type[T]) -> T:
    """A query string's pairs as a Struct. Raises ApiError 400 for unknown, repeated or malformed parameters."""
    values: dict[str, str] = {}
    for key, value in pairs:
        if key in values:
            raise ApiError(400, f"query: {key} is given twice")
        values[key] = value
    check_keys(values, wanted, "query")
    try:
        return msgspec.convert(values, wanted, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(400, f"query: {readable(error)}") from None


def check_keys(value: Any, wanted: Any, where: str) -> None:
    """Raise ApiError 400 at the first key, at any depth, that the wanted type does not have."""
    shape = _without_none(wanted)
    origin = typing.get_origin(shape)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        item = typing.get_args(shape)
        if len(item) == 2 and item[1] is Ellipsis:
            for index, element in enumerate(value):
                check_keys(element, item[0], f"{where}[{index}]")
    elif (known := _members(shape)) is not None and isinstance(value, Mapping):
        for key, element in value.items():
            if key not in known:
                raise ApiError(400, f"{where}: unknown key {key!r}", nearest(str(key), known))
            check_keys(element, known[key], f"{where}.{key}")


def readable(error: msgspec.ValidationError) -> str:
    """msgspec's message in the words of the API: `at $.disks[0].size` becomes the place itself."""
    text = str(error)
    message, _, place = text.partition(" - at `$")
    message = message.replace("`", "").replace("Object", "an object")
    place = place.rstrip("`").lstrip(".")
    return f"{place}: {message}" if place else message


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"key {key!r} is given twice")
        seen.add(key)


def _without_none(wanted: Any) -> Any:
    if typing.get_origin(wanted) is typing.Annotated:
        return _without_none(typing.get_args(wanted)[0])
    if typing.get_origin(wanted) in (typing.Union, types.UnionType):
        rest = [item for item in typing.get_args(wanted) if item is not type(None)]
        return _without_none(rest[0]) if len(rest) == 1 else wanted
    return wanted


_known: dict[type, dict[str, Any]] = {}


def _members(shape: Any) -> dict[str, Any] | None:
    """Names and types of a Struct's or dataclass's fields; None for any other type."""
    if not isinstance(shape, type):
        return None
    if shape not in _known:
        if dataclasses.is_dataclass(shape):
            names = [field.name for field in dataclasses.fields(shape)]
        elif issubclass(shape, msgspec.Struct):
            names = list(shape.__struct_fields__)
        else:
            return None
        hints = typing.get_type_hints(shape, include_extras=True)
        _known[shape] = {name: hints[name] for name in names}
    return _known[shape]
