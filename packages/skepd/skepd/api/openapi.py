"""The OpenAPI 3.1 document, generated from the route table: `python -m skepd.api.openapi > docs/openapi.json`."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
from skep import wire

from skepd.model.desired import KIND_OF

from .route import Route
from .routes import ROUTES
from .visitor import COOKIES

REFERENCE = "#/components/schemas/{name}"
PROBLEMS = {
    400: "Malformed: the problem names the place.",
    401: "No credential, or not a valid one.",
    403: "The caller's role is too weak.",
    404: "There is no such object.",
    409: "In conflict with the state of the host, or owned by another manager.",
    412: "The precondition (If-Match, If-None-Match) does not hold.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    422: "Understood, and refused for the reason given.",
    426: "This is a WebSocket.",
    429: "Too many attempts; Retry-After says when it may be tried again.",
}
RATED = ("/v1/setup", "/v1/sessions", "/v1/users/{name}/password")
CONDITIONS = (
    ("If-Match", "The etag the object must have."),
    ("If-None-Match", "`*`: the object must not exist yet."),
)


def document() -> dict[str, Any]:
    """The whole document as plain JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Skep",
            "version": "1",
            "summary": "Guests, disks and networks of a host.",
            "description": "On the host's unix socket the kernel says who calls; through skep-gateway a token or a "
            "session's cookie does. Calls with a cookie that change something, and public ones, need an Origin that is "
            "the server's own, and the header `X-Skep: 1`.",
            "license": {"name": "BSD-2-Clause", "identifier": "BSD-2-Clause"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "responses": {
                **{str(code): _problem(text) for code, text in PROBLEMS.items()},
                "failed": _problem("The host failed, or is too busy; the problem says how."),
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": COOKIES["https"]},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _identity(route),
        "tags": [route.tag],
        "x-role": route.role or "public",
        "parameters": _parameters(route),
        "responses": _responses(route),
    }
    if route.role is None:
        described["security"] = []
    if route.websocket:
        described["x-websocket"] = route.websocket
    if route.body is bytes:
        binary = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        described["requestBody"] = {"required": True, "content": binary}
    elif route.body is not None:
        schema = {"$ref": REFERENCE.format(name=route.body.__name__)}
        content: dict[str, Any] = {"application/json": {"schema": schema}}
        if route.body in KIND_OF:
            content["application/toml"] = {"schema": {"type": "string"}}
            if route.method == "PATCH":  # of definitions alone
                del content["application/json"]
        needed = route.body in KIND_OF or bool(_required(route.body))
        described["requestBody"] = {"required": needed, "content": content}
    return described


def _identity(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.removeprefix("/v1").split("/")[1:]]
    return "-".join([route.method.lower(), *words])


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        {"name": word[1:-1], "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for word in route.path.split("/")
        if word.startswith("{")
    ]
    _, components = msgspec.json.schema_components([route.query], ref_template=REFERENCE)
    for name, shape in components[route.query.__name__].get("properties", {}).items():
        found.append({"name": name, "in": "query", "required": False, "schema": _query_schema(shape)})
    if route.conditional:
        found += [
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in CONDITIONS
        ]
    return found


def _query_schema(shape: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: a parameter is there or not."""
    choices = [choice for choice in shape.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else shape


def _responses(route: Route) -> dict[str, Any]:
    codes = [400, 401, 403]
    codes += [404] if "{" in route.path else []
    codes += [413, 415] if route.body and route.body is not bytes else []
    codes += [409, 422] if route.method != "GET" or route.websocket else []
    codes += [429] if route.path.startswith(RATED) else []
    codes += [412] if route.conditional else []
    responses: dict[str, Any] = {str(code): {"$ref": f"#/components/responses/{code}"} for code in sorted(codes)}
    responses["default"] = {"$ref": "#/components/responses/failed"}
    if route.answer is None:
        if route.websocket:
            responses |= {
                "101": {"description": route.websocket},
                "426": {"$ref": "#/components/responses/426"},
            }
        else:
            responses[str(route.status)] = {"description": "Done."}
        return dict(sorted(responses.items()))
    success = {"description": "Done.", "content": _content(route)}
    if issubclass(route.query, wire.WorkQuery):
        choices = [{"$ref": REFERENCE.format(name=name)} for name in ("Operation", "Plan")]
        success = {
            "description": "Done, or with dry_run planned.",
            "content": {route.media: {"schema": {"oneOf": choices}}},
        }
    if route.answer is wire.Operation and not route.many and route.method != "GET":
        location = {"Location": {"description": "Where the operation is.", "schema": {"type": "string"}}}
        responses["202"] = {"description": "Under way.", "headers": location, "content": _content(route)}
    responses[str(route.status)] = success
    return dict(sorted(responses.items()))


def _content(route: Route) -> dict[str, Any]:
    if route.answer is bytes:
        return {route.media: {"schema": {"type": "string"}}}
    name = _answer_name(route.answer)
    schema: dict[str, Any] = {"$ref": REFERENCE.format(name=name)}
    if route.many:
        schema = {"type": "array", "items": schema}
    content = {route.media: {"schema": schema}}
    if route.answer in KIND_OF and not route.many:
        content["application/toml"] = {"schema": {"type": "string"}}
    if route.path == "/v1/events":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return content


def _answer_name(answer: type) -> str:
    return f"{answer.__name__}View" if answer in KIND_OF else answer.__name__


def _problem(description: str) -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(name="Problem")}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


def _schemas() -> dict[str, Any]:
    used = {route.body for route in ROUTES if route.body and route.body is not bytes} | {
        route.answer for route in ROUTES if route.answer not in (None, bytes)
    }
    wanted = sorted({*used, wire.Problem}, key=lambda shape: shape.__name__)
    _, components = msgspec.json.schema_components(wanted, ref_template=REFERENCE)
    found: dict[str, Any] = dict(components)
    for shape in KIND_OF:
        found[f"{shape.__name__}View"] = _view(found[shape.__name__])
        found[shape.__name__] = _definition(found[shape.__name__])
    for schema in found.values():
        _close(schema)
    return dict(sorted(found.items()))


def _view(schema: dict[str, Any]) -> dict[str, Any]:
    """An object in an answer: its definition, etag and status."""
    more = {"etag": {"type": "string"}, "status": {"type": "object"}}
    return {
        **schema,
        "title": f"{schema['title']}View",
        "properties": {**schema["properties"], **more},
        "required": sorted({*schema["properties"], *more}),
    }


def _definition(schema: dict[str, Any]) -> dict[str, Any]:
    """An object in a request. What an answer has besides may be sent back; name and manager come from elsewhere."""
    properties = dict(schema["properties"])
    for name in ("manager", "etag", "status"):
        properties[name] = {"readOnly": True}
    required = [name for name in schema.get("required", ()) if name != "name"]
    return {**schema, "properties": properties, "required": required, "additionalProperties": False}


def _close(schema: dict[str, Any]) -> None:
    """Parts of definitions are dataclasses, whose schema msgspec leaves open; Skep does not."""
    if schema.get("type") == "object" and "properties" in schema and not schema["title"].endswith("View"):
        schema.setdefault("additionalProperties", schema["title"] in _ANSWERS)


_ANSWERS = {
    *("Caller", "Check", "CreatedToken", "Event", "GuestDisk", "Host", "Operation", "Plan", "PlanNote", "PlanStep"),
    *("Place", "Problem", "Snapshot", "StepState", "Token", "AuditRecord", "PasskeyOptions", "PasskeyView"),
    *(
        "SessionView",
        "SetupLink",
        "SetupState",
        "UserView",
        "Metrics",
        "Health",
        "HealthProblem",
        "SnapshotChanges",
        "DiskChanges",
    ),
    "Inventory",
}
"""Answers may grow: a client must not stumble over a key it does not know."""


def _required(body: type) -> list[str]:
    _, components = msgspec.json.schema_components([body], ref_template=REFERENCE)
    return list(components[body.__name__].get("required", ()))


def text() -> str:
    return json.dumps(document(), indent=1, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
