"""Actions, snapshots, operations, site definitions, tokens: the work that the API starts."""

from __future__ import annotations

import threading

from fake_engine import FakeEngine
from running_api import Running


def test_actions_carry_their_options(running: Running, engine: FakeEngine) -> None:
    assert running.request("POST", "/v1/guests/web/actions/stop", {"timeout": 5})[0] == 200
    assert running.request("POST", "/v1/guests/web/actions/start")[0] == 200
    assert running.request("POST", "/v1/guests/web/actions/grow", {"disk": "root", "size": 2 << 30})[0] == 200
    assert engine.actions == [
        ("web", "stop", {"timeout": 5, "force": True}),
        ("web", "start", {}),
        ("web", "grow", {"disk": "root", "size": 2 << 30}),
    ]
    assert running.request("POST", "/v1/guests/web/actions/explode")[0] == 404
    assert running.request("POST", "/v1/guests/none/actions/start")[0] == 404
    assert running.request("POST", "/v1/guests/web/actions/stop", {"timout": 5})[0] == 400


def test_a_dry_run_answers_with_the_plan_and_does_nothing(running: Running, engine: FakeEngine) -> None:
    before, guest = dict(engine.objects), "/v1/guests/web"
    toml = {"Content_Type": "application/toml"}
    asked = [
        ("PUT", guest, {"memory": 1 << 30, "manager": "site"}, {}),
        ("PATCH", guest, b'memory = "1G"', toml),
        ("DELETE", guest, None, {}),
        ("POST", f"{guest}/actions/stop", {"timeout": 5}, {}),
        ("POST", f"{guest}/actions/clone", {"target": "copy"}, {}),
        ("POST", f"{guest}/snapshots", {"name": "before"}, {}),
        ("POST", f"{guest}/snapshots/before/rollback", {}, {}),
        ("DELETE", f"{guest}/snapshots/before", None, {}),
        ("POST", "/v1/images/small/pull", {"version": "1", "sources": ["http://x"]}, {}),
    ]
    for method, path, body, headers in asked:
        take_over = "&take_over=true" if "/actions" not in path and "/snapshots" not in path else ""
        status, _, plan = running.request(method, f"{path}?dry_run=true{take_over}", body, **headers)
        assert (status, len(plan["steps"]), plan["confirm"]) == (200, 1, False), (method, path, plan)
    assert (engine.objects, engine.actions, engine.work) == (before, [], {})
    assert running.request("DELETE", "/v1/guests/none?dry_run=true")[0] == 404
    assert running.request("DELETE", f"{guest}?dry_run=true", If_Match="wrong")[0] == 412
    assert running.request("POST", "/v1/guests/none/actions/stop?dry_run=true")[0] == 404


def test_snapshots(running: Running, engine: FakeEngine) -> None:
    path = "/v1/guests/web/snapshots"
    assert running.request("POST", path, {"name": "before"})[0] == 200
    (found,) = running.request("GET", path)[2]
    assert found == {"name": "before", "created": 1.0, "frozen": True, "disks": ["root"]}
    assert running.request("GET", f"{path}/before")[2] == found
    assert running.request("GET", f"{path}/after")[0] == 404
    status, _, changes = running.request("GET", f"{path}/before/changes")
    assert (status, changes["disks"]["root"], changes["newer"]) == (200, {"written": 65536, "grown": 0}, ["later"])
    assert running.request("GET", f"{path}/after/changes")[0] == 404
    assert running.request("POST", f"{path}/before/rollback", {"start": True})[0] == 200
    assert engine.actions[-1] == ("web", "rollback", {"snapshot": "before", "start": True})
    assert running.request("DELETE", f"{path}/before")[0] == 200
    assert running.request("GET", path)[2] == []


def test_long_work_is_202_until_it_ends(running: Running, engine: FakeEngine) -> None:
    engine.hold = True
    status, headers, operation = running.request("POST", "/v1/guests/web/actions/start")
    assert (status, operation["state"]) == (202, "running")
    assert running.request("GET", headers["location"])[2] == operation
    assert running.request("GET", "/v1/operations")[2] == [operation]
    timer = threading.Timer(0.2, engine.finish, (operation["id"], "failed", "the disk is full"))
    timer.start()
    status, _, ended = running.request("GET", headers["location"] + "?wait=60")
    assert (status, ended["state"], ended["error"]) == (200, "failed", "the disk is full")
    timer.join()


def test_wait_ends_with_the_work_or_with_its_time(running: Running, engine: FakeEngine) -> None:
    engine.hold = True
    status, _, operation = running.request("POST", "/v1/guests/web/actions/start?wait=1")
    assert (status, operation["state"]) == (202, "running")
    threading.Timer(0.2, lambda: engine.finish("op2")).start()
    status, _, operation = running.request("POST", "/v1/guests/web/actions/stop?wait=60")
    assert (status, operation["id"], operation["state"]) == (200, "op2", "done")


def test_many_waiters_do_not_hold_up_a_call(running: Running, engine: FakeEngine) -> None:
    engine.hold = True
    running.request("POST", "/v1/guests/web/actions/start")
    answers: list[int] = []
    waiters = [
        threading.Thread(target=lambda: answers.append(running.request("GET", "/v1/operations/op1?wait=60")[0]))
        for _ in range(60)
    ]
    for waiter in waiters:
        waiter.start()
    assert running.request("GET", "/v1/host")[0] == 200
    engine.finish("op1")
    for waiter in waiters:
        waiter.join(60)
    assert answers == [200] * 60


def test_cancel_and_confirm(running: Running, engine: FakeEngine) -> None:
    engine.hold = True
    running.request("POST", "/v1/guests/web/actions/start")
    assert running.request("POST", "/v1/operations/op1/confirm")[0] == 422
    assert running.request("POST", "/v1/operations/op1/cancel")[2]["state"] == "cancelled"
    assert running.request("POST", "/v1/operations/op1/cancel")[0] == 422
    engine.confirming = True
    status, _, operation = running.request("POST", "/v1/apply?wait=60", {"text": ""})
    assert (status, operation["state"]) == (202, "confirming")
    assert running.request("POST", f"/v1/operations/{operation['id']}/confirm")[2]["state"] == "done"


def test_plan_apply_export(running: Running) -> None:
    site = {"text": "[guest.a]\n[guest.b]\n", "file": "my.toml"}
    plan = running.request("POST", "/v1/plan", site)[2]
    assert [step["summary"] for step in plan["steps"]] == ["create guest a", "create guest b"]
    assert running.request("POST", "/v1/apply", site)[0] == 200
    assert running.request("POST", "/v1/plan", site)[2] == {"steps": [], "notes": [], "confirm": False}
    assert running.request("GET", "/v1/export")[2] == b"[guest.a]\n[guest.b]\n[guest.web]\n"
    status, _, problem = running.request("POST", "/v1/plan", {"text": "[", "file": "my.toml"})
    assert (status, problem["file"], problem["line"]) == (400, "my.toml", 1)
    schedules = {"text": "[schedule]\n"}
    assert running.request("POST", "/v1/plan", schedules)[2]["notes"][0]["refuses"] is True
    assert running.request("POST", "/v1/apply", schedules)[0] == 422


def test_host_doctor_serial_and_images(running: Running) -> None:
    assert running.request("GET", "/v1/host")[2]["facts"]["uplinks"] == ["igb0"]
    assert [check["works"] for check in running.request("GET", "/v1/doctor")[2]] == [True, False]
    status, headers, data = running.request("GET", "/v1/guests/web/serial?length=3")
    assert (status, headers["skep-offset"], data) == (200, "8", b"89\xff")
    pull = {"version": "1", "sources": ["http://images/"]}
    assert running.request("POST", "/v1/images/small/pull", pull)[0] == 200
    assert running.request("GET", "/v1/images/small")[2]["sources"] == ["http://images/"]


def test_more_work_than_skepd_takes_is_503(running: Running) -> None:
    running.app.state.service.workers._calls._pending = 1000
    status, headers, _ = running.request("GET", "/v1/host")
    assert (status, headers["retry-after"]) == (503, "2")


def test_what_was_used(running: Running) -> None:
    status, _, found = running.request("GET", "/v1/guests/web/metrics?span=60")
    assert (status, found["start"], found["step"]) == (200, 1000.0, 15)
    assert found["series"]["cpu"] == [None, 0.5]
    assert running.request("GET", "/v1/host/metrics")[0] == 200
    assert running.request("GET", "/v1/guests/none/metrics")[0] == 404
    for span in (0, 59, 2_592_001, "x"):
        assert running.request("GET", f"/v1/host/metrics?span={span}")[0] == 400


def test_health(running: Running) -> None:
    status, _, found = running.request("GET", "/v1/health")
    assert (status, found["state"], found["problems"][0]["ref"]) == (200, "error", "disk/ada0")
