"""Objects over HTTP: list, show, put, delete, preconditions, strictness, errors for people."""

from __future__ import annotations

import pytest
from fake_engine import FakeEngine
from running_api import Running
from skepd.model.names import Kind, Ref


def test_a_guest_is_its_definition_with_etag_and_status(running: Running) -> None:
    status, headers, guest = running.request("GET", "/v1/guests/web")
    assert status == 200
    assert guest["cpus"] == {"sockets": 1, "cores": 2, "threads": 1}
    assert guest["status"] == {"state": "running"}
    assert headers["etag"] == f'"{guest["etag"]}"'
    assert running.request("GET", "/v1/guests")[2] == [guest]


def test_what_was_read_can_be_put_back_changed(running: Running, engine: FakeEngine) -> None:
    _, headers, guest = running.request("GET", "/v1/guests/web")
    guest["memory"] = 1 << 30
    path = "/v1/guests/web?take_over=true"
    status, answered, operation = running.request("PUT", path, guest, If_Match=headers["etag"])
    assert (status, operation["state"]) == (200, "done")
    assert answered["location"] == f"/v1/operations/{operation['id']}"
    assert engine.objects[Ref(Kind.GUEST, "web")].memory == 1 << 30
    status, _, problem = running.request("PUT", path, guest, If_Match=headers["etag"])
    assert (status, problem["title"]) == (412, "Precondition Failed")
    assert "changed since" in problem["detail"]


def test_another_managers_object_needs_a_take_over(running: Running) -> None:
    status, _, problem = running.request("PUT", "/v1/guests/web", {})
    assert (status, problem["status"]) == (409, 409)
    assert "manager" in problem["detail"]
    assert "take_over" in problem["hint"]


def test_if_none_match_makes_only_what_is_not_there(running: Running) -> None:
    assert running.request("PUT", "/v1/guests/new", {}, If_None_Match="*")[0] == 200
    assert running.request("PUT", "/v1/guests/new", {}, If_None_Match="*")[0] == 412
    assert running.request("PUT", "/v1/guests/other", {}, If_Match="*")[0] == 412
    assert running.request("PUT", "/v1/guests/new", {}, If_Match="*")[0] == 200
    assert running.request("PUT", "/v1/guests/new", {}, If_None_Match='"x"')[0] == 400


def test_a_change_between_check_and_put_is_412(running: Running, engine: FakeEngine) -> None:
    _, headers, _ = running.request("GET", "/v1/guests/web")
    put = engine.put

    def late(value: object, **options: object) -> object:
        engine.put = put
        engine.put(value, manager="site")
        return put(value, **options)

    engine.put = late
    status, _, problem = running.request("PUT", "/v1/guests/web?take_over=1", {}, If_Match=headers["etag"])
    assert status == 412, problem


def test_delete(running: Running) -> None:
    assert running.request("DELETE", "/v1/networks/lan")[0] == 409
    assert running.request("DELETE", "/v1/networks/lan?take_over=true")[0] == 200
    assert running.request("DELETE", "/v1/networks/lan")[0] == 404
    assert running.request("GET", "/v1/networks/lan")[0] == 404


@pytest.mark.parametrize(
    ("body", "detail", "hint"),
    [
        ({"memry": 1}, "body: unknown key 'memry'", 'did you mean "memory"?'),
        ({"disks": [{"name": "a"}, {"nam": "b"}]}, "body.disks[1]: unknown key 'nam'", 'did you mean "name"?'),
        ({"boot": {"gate": {"kind": "tcp", "prt": 1}}}, "body.boot.gate: unknown key 'prt'", 'did you mean "port"?'),
        ({"memory": "1G"}, "body: memory: Expected int, got str", ""),
        ({"disks": [{"size": 1}]}, "body: disks[0]: an object missing required field name", ""),
        ({"name": "mail"}, "body: name is 'mail', the path says 'new'", "a name cannot be changed"),
        ([], "body: expected an object", "send the fields of a guest as JSON"),
        (b'{"memory": 1, "memory": 2}', "the body is not JSON that Skep takes: key 'memory' is given twice", ""),
        (b'{"memory": NaN}', None, ""),
        (b'{"description": "\\ud800"}', None, ""),
        (b"[" * 100_000, None, ""),
        (b"\xff", None, ""),
    ],
)
def test_a_bad_body_is_400_and_changes_nothing(
    running: Running, engine: FakeEngine, body: object, detail: str | None, hint: str
) -> None:
    status, headers, problem = running.request("PUT", "/v1/guests/new", body)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert problem.get("hint", "") == hint
    if detail is not None:
        assert problem["detail"] == detail
    assert Ref(Kind.GUEST, "new") not in engine.objects


def test_errors_of_the_model_and_refusals_of_the_engine(running: Running) -> None:
    status, _, problem = running.request("PUT", "/v1/guests/bad", {})
    assert (status, problem["detail"], problem["hint"]) == (400, "the name is bad", "take another one")
    status, _, problem = running.request("PUT", "/v1/guests/big", {"memory": 1 << 40})
    assert (status, problem["detail"]) == (422, "the host has 8 GiB of memory")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("wiat=3", "query: unknown key 'wiat'"),
        ("wait=3&wait=4", "query: wait is given twice"),
        ("wait=soon", "query: wait: Expected int, got str"),
        ("wait=-1", "query: wait: Expected int >= 0"),
        ("manager=site", "query: manager: Invalid enum value 'site'"),
    ],
)
def test_a_bad_query_is_400(running: Running, query: str, detail: str) -> None:
    status, _, problem = running.request("PUT", f"/v1/guests/new?{query}", {})
    assert (status, problem["detail"]) == (400, detail)


def test_what_is_not_there_and_what_is_not_meant(running: Running) -> None:
    assert running.request("GET", "/v1/nothing")[0] == 404
    assert running.request("GET", "/v1/guests/web/")[0] == 404
    status, headers, problem = running.request("POST", "/v1/guests/web", {})
    assert (status, problem["title"]) == (405, "Method Not Allowed")
    assert set(headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "PATCH", "DELETE"}
    assert running.request("PUT", "/v1/guests/new", b"{}", Content_Type="text/plain")[0] == 415
    assert running.request("PUT", "/v1/guests/new", b'"' + b"x" * (6 << 20) + b'"')[0] == 413


def test_disks_are_those_of_the_guests(running: Running) -> None:
    (disk,) = running.request("GET", "/v1/disks")[2]
    assert (disk["guest"], disk["name"], disk["size"], disk["image"]) == ("web", "root", 1 << 30, "small")


TOML = "application/toml"


def test_a_definition_can_be_sent_and_read_as_text(running: Running, engine: FakeEngine) -> None:
    text = b'memory = "2G"\ncpus = 2\n[[disk]]\nname = "root"\nsize = "10G"\n'
    assert running.request("PUT", "/v1/guests/new", text, Content_Type=TOML)[0] == 200
    assert engine.objects[Ref(Kind.GUEST, "new")].memory == 2 << 30
    status, headers, answer = running.request("GET", "/v1/guests/new", Accept=TOML)
    assert (status, headers["content-type"]) == (200, TOML)
    assert b'memory = "2G"' in answer


def test_errors_in_text_name_file_and_line_all_of_them(running: Running) -> None:
    text = b'memory = "2G"\ncpu = 2\nscreen = "yes"\n'
    status, _, problem = running.request("PUT", "/v1/guests/new?file=my.toml", text, Content_Type=TOML)
    assert status == 400
    assert [(error["file"], error["line"]) for error in problem["errors"]] == [("my.toml", 2), ("my.toml", 3)]
    assert running.request("PUT", "/v1/guests/new", b"\xff", Content_Type=TOML)[0] == 400
    assert running.request("PUT", "/v1/guests/new", b'name = "old"', Content_Type=TOML)[0] == 400


def test_patch_merges_tables_and_replaces_the_rest(running: Running, engine: FakeEngine) -> None:
    running.request("PUT", "/v1/guests/new", b'memory = "2G"\nboot.order = 3\nboot.delay = "9s"', Content_Type=TOML)
    assert running.request("PATCH", "/v1/guests/new", b"cpus = 4\nboot.order = 5", Content_Type=TOML)[0] == 200
    guest = engine.objects[Ref(Kind.GUEST, "new")]
    assert (guest.memory, guest.cpus.cores, guest.boot.order, guest.boot.delay) == (2 << 30, 4, 5, 9)
    assert running.request("PATCH", "/v1/guests/new", {"cpus": 4})[0] == 415
    assert running.request("PATCH", "/v1/guests/none", b"", Content_Type=TOML)[0] == 404
    assert running.request("PATCH", "/v1/guests/new", b"cpus = 1", Content_Type=TOML, If_Match='"x"')[0] == 412


def test_several_definitions_are_one_change(running: Running, engine: FakeEngine) -> None:
    body = {"guests": [{"name": "db", "nics": [{"port": "db.0"}]}], "ports": [{"name": "db.0", "network": "lan"}]}
    status, _, plan = running.request("POST", "/v1/definitions?dry_run=true", body, If_None_Match="*")
    assert (status, len(plan["steps"])) == (200, 1)
    assert Ref(Kind.GUEST, "db") not in engine.objects
    status, _, operation = running.request("POST", "/v1/definitions", body, If_None_Match="*")
    assert (status, operation["state"]) == (200, "done")
    assert engine.objects[Ref(Kind.PORT, "db.0")].network == "lan"
    assert running.request("POST", "/v1/definitions", body, If_None_Match="*")[0] == 412
    assert running.request("POST", "/v1/definitions", body)[0] == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "no definition"),
        ({"guests": [{"memory": 1 << 29}]}, "has no name"),
        ({"guests": [{"name": "db", "etag": 7}]}, "etag that is no text"),
        ({"guests": [{"name": "db", "memroy": 1}]}, "memroy"),
        ({"disks": []}, "disks"),
    ],
)
def test_several_definitions_that_are_wrong(running: Running, body: dict[str, object], says: str) -> None:
    status, _, problem = running.request("POST", "/v1/definitions", body)
    assert status == 400
    assert says in problem["detail"]


def test_several_definitions_need_a_take_over_like_one(running: Running) -> None:
    status, _, problem = running.request("POST", "/v1/definitions", {"guests": [{"name": "web"}]})
    assert status == 409
    assert "take_over" in problem["hint"]
