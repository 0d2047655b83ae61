"""Digests of specifications: equal exactly when the canonical encoding is equal, on every host and version.

A field at its default is not encoded, so a vocabulary that grows a field changes no digest of what is running.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, TypeVar

from skep_helper.codec import encode

T = TypeVar("T")

NO_DIGEST = "0" * 16
_LENGTH = 32


def digest_of(value: Any) -> str:
    """A digest in hexadecimal of a message or a container of messages."""
    text = json.dumps(encode(value), separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_LENGTH]


def sealed(spec: T) -> T:
    """The same specification with its `digest` field filled in from all its other fields."""
    content = encode(spec)
    content.pop("digest", None)
    return dataclasses.replace(spec, digest=digest_of(content))  # type: ignore[type-var]
