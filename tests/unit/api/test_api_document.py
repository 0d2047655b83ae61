"""docs/openapi.json is what the route table says; the wire types are what the engine answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from skep import wire
from skepd.api import openapi
from skepd.api.routes import ROUTES
from skepd.engine import contract

CHECKED_IN = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_document_is_checked_in() -> None:
    assert CHECKED_IN.read_text() == openapi.text(), "run: python -m skepd.api.openapi > docs/openapi.json"


def test_every_reference_leads_somewhere() -> None:
    document = openapi.document()
    text = json.dumps(document)
    for piece in text.split('"$ref": "#/')[1:]:
        found = document
        for word in piece.split('"')[0].split("/"):
            found = found[word]
        assert found


@pytest.mark.parametrize("name", ["Operation", "StepState", "Event"])
def test_wire_types_have_the_fields_of_the_engines(name: str) -> None:
    fields = [field.name for field in dataclasses.fields(getattr(contract, name))]
    assert list(getattr(wire, name).__struct_fields__) == fields


def test_no_two_routes_collide_and_changes_need_more_than_viewer() -> None:
    keys = [(route.method, route.path) for route in ROUTES]
    assert len(set(keys)) == len(keys)
    weak = {route.path for route in ROUTES if route.role == "viewer" and route.method != "GET"}
    own = {"/v1/sessions/{id}", "/v1/users/{name}/password"}
    own |= {f"/v1/users/{{name}}/passkeys{end}" for end in ("", "/begin", "/{id}")}
    assert weak == {"/v1/plan", "/v1/guests/{name}/tickets", *own}


def test_what_strangers_may_call_is_little() -> None:
    public = {(route.method, route.path) for route in ROUTES if route.role is None}
    posts = ("setup", "sessions", "sessions/passkey", "sessions/passkey/begin")
    assert public == {("GET", "/v1/setup"), *(("POST", f"/v1/{path}") for path in posts)}
