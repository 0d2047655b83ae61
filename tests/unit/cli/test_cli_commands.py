"""Commands of `skep`: what they ask of the server, what they print, how they end."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_lab import Cli
from skepd.model.names import Kind, Ref


def test_lists_are_tables_and_json(skep: Cli) -> None:
    done = skep("guest", "list")
    header, row = done.out.splitlines()
    assert header.split() == ["NAME", "STATE", "CPUS", "MEMORY", "DISKS", "ADDRESSES", "MANAGER"]
    assert row.split() == ["web", "running", "2", "512", "MiB", "root", "-", "site"]
    assert json.loads(skep("guest", "list", "--json").out)[0]["name"] == "web"
    empty = skep("router", "list")
    assert (empty.code, empty.out, empty.err) == (0, "", "(none)\n")
    assert skep("router", "list", "--json").out == "[]\n"


@contextlib.contextmanager
def telling(skep: Cli) -> Iterator[None]:
    """The server tells what is used, again and again, as the real one does."""
    over = threading.Event()
    web = {"cpu": 1.5, "memory": 300 << 20, "disk_read": 2048.0, "disk_write": 0.0, "net_in": None, "net_out": 10.0}
    data = {"host": {"cpu": 2.0, "memory_used": 1 << 30, "arc": 0.0}, "guests": {"web": web, "idle": {"cpu": None}}}

    def tell() -> None:
        while not over.wait(0.05):
            skep.api.engine.tell("metrics", **data)

    teller = threading.Thread(target=tell)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def test_what_guests_use(skep: Cli) -> None:
    with telling(skep):
        done = skep("top")
        assert done.out.splitlines() == [
            "NAME   CPU   MEMORY  READ/s  WRITE/s  IN/s  OUT/s",
            "web   150%  300 MiB   2 KiB      0 B     -   10 B",
            "idle     -        -       -        -     -      -",
        ]
        assert skep("top", "--sort", "name").out.splitlines()[1].split()[0] == "idle"
        assert json.loads(skep("top", "--json").out)["guests"]["web"]["cpu"] == 1.5
        header, row = skep("guest", "list", "--usage").out.splitlines()
        assert header.split() == ["NAME", "STATE", "CPU", "MEMORY", "READ/s", "WRITE/s", "IN/s", "OUT/s"]
        assert row.split()[:4] == ["web", "running", "150%", "300"]
        assert json.loads(skep("guest", "list", "--usage", "--json").out)[0]["usage"]["cpu"] == 1.5
        with skep.terminal("top") as terminal:
            terminal.expect("2 guests run; host: CPU 200%, memory 1 GiB")
            terminal.expect("150%")
            terminal.type("\x03")
            assert terminal.end() == 0
            terminal.expect("\x1b[?1049l")


def test_health_fails_when_something_is_wrong(skep: Cli) -> None:
    done = skep("host", "health")
    assert done.code == 69
    assert done.out.splitlines()[1].split(maxsplit=2) == ["error", "disk/ada0", "ada0 fails  replace it"]
    assert json.loads(skep("host", "health", "--json").out)["state"] == "error"


def test_a_snapshot_is_compared(skep: Cli) -> None:
    assert skep("snapshot", "create", "web", "before").code == 0
    done = skep("snapshot", "compare", "web", "before")
    assert done.out.splitlines() == [
        "DISK  WRITTEN SINCE  GROWN",
        "root         64 KiB    0 B",
        "a rollback removes the newer snapshots later",
        "the definition changed, and a rollback leaves it as it is now:",
        "  -memory = 1",
    ]
    assert skep("snapshot", "compare", "web", "none").code == 66


@pytest.mark.parametrize("kind", ["disk", "network", "port", "filter", "image", "operation", "token"])
def test_every_list_has_json(skep: Cli, kind: str) -> None:
    done = skep(kind, "list", "--json")
    assert done.code == 0
    assert isinstance(json.loads(done.out), list)
    assert skep(kind, "list").code == 0


def test_a_guest_with_ports_is_made_changed_and_deleted(skep: Cli, tmp_path: Path) -> None:
    engine, key = skep.api.engine, tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA me\n")
    words = ["--image", "small:1", "--disk", "2G", "--memory", "1G", "--cpus", "2", "--no-start"]
    more = ["--network", "lan=10.0.0.9", "--network", "lan", "--ssh-key", str(key), "--user", "me", "boot.order=5"]
    done = skep("guest", "create", "new", *words, *more)
    assert done.code == 0, done.err
    guest = engine.objects[Ref(Kind.GUEST, "new")]
    assert (guest.memory, guest.cpus.total, guest.power, guest.boot.order) == (1 << 30, 2, "off", 5)
    assert (guest.disks[0].image, guest.disks[0].size) == ("small:1", 2 << 30)
    assert [nic.port for nic in guest.nics] == ["new.0", "new.1"]
    assert (guest.cloud_init.user, len(guest.cloud_init.ssh_keys)) == ("me", 1)
    port = engine.objects[Ref(Kind.PORT, "new.0")]
    assert (port.network, port.guest, port.addresses) == ("lan", "new", ("10.0.0.9",))
    assert skep("guest", "create", "new").code == 75
    assert skep("guest", "set", "new", "--memory", "2G", "cpus=3").code == 0
    assert engine.objects[Ref(Kind.GUEST, "new")].memory == 2 << 30
    assert skep("guest", "delete", "new", "--yes").code == 0
    assert not [ref for ref in engine.objects if "new" in ref.name]


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (("guest", "set", "web", "--memory", "2G", "--take-over"), "define guest web"),
        (("guest", "delete", "web", "--take-over"), "delete guest web"),
        (("guest", "stop", "web"), "stop guest web"),
        (("network", "create", "wan", "kind=isolated"), "define network wan"),
        (("snapshot", "create", "web", "before"), "snapshot guest web"),
        (("disk", "grow", "web", "root", "20G"), "grow guest web"),
    ],
)
def test_a_dry_run_prints_the_plan_and_does_nothing(skep: Cli, words: tuple[str, ...], step: str) -> None:
    before = dict(skep.api.engine.objects)
    done = skep(*words, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].split(maxsplit=1)[1] == step
    assert (skep.api.engine.objects, skep.api.engine.work) == (before, {})


def test_a_guest_that_cannot_be_completed_goes_again_with_its_ports(skep: Cli) -> None:
    before = dict(skep.api.engine.objects)
    done = skep("guest", "create", "new", "--network", "lan", "--network", "none")
    assert (done.code, done.err.splitlines()[-1]) == (65, 'skep: there is no network "none"')
    assert skep.api.engine.objects == before


def test_definitions_from_files_and_back(skep: Cli, tmp_path: Path) -> None:
    file = tmp_path / "web.toml"
    file.write_text('description = "for the web"\nrules = ["in tcp 443", "out any"]\n')
    assert skep("filter", "create", "web", "--file", str(file)).code == 0
    text = skep("filter", "show", "web", "--toml").out
    assert "in ipv4 tcp 443" in text
    file.write_text(text.replace("443", "8443"))
    assert skep("filter", "set", "web", "--file", str(file)).code == 0
    assert skep.api.engine.objects[Ref(Kind.FILTER, "web")].rules[0].ports == "8443"
    file.write_text('descripton = "x"\n')
    done = skep("filter", "set", "web", "--file", str(file))
    assert done.code == 65
    assert done.err.startswith(f"{file}:1: descripton: there is no such key; did you mean")


def test_another_managers_object_needs_take_over(skep: Cli) -> None:
    done = skep("guest", "set", "web", "cpus=4")
    assert done.code == 73
    assert "--take-over" in done.err
    assert skep("guest", "set", "web", "cpus=4", "--take-over").code == 0


def test_actions(skep: Cli) -> None:
    assert skep("guest", "stop", "web", "--timeout", "3", "--no-force").code == 0
    assert skep("disk", "grow", "web", "root", "20G").code == 0
    assert skep("guest", "reset", "web", "--yes").code == 0
    assert skep("guest", "clone", "web", "web2").code == 0
    assert skep("snapshot", "create", "web", "before", "--no-quiesce").code == 0
    assert skep("snapshot", "rollback", "web", "before", "--start", "--yes").code == 0
    assert "before" in skep("snapshot", "list", "web").out
    assert skep("snapshot", "delete", "web", "before", "--yes").code == 0
    assert skep.api.engine.actions == [
        ("web", "stop", {"timeout": 3, "force": False}),
        ("web", "grow", {"disk": "root", "size": 20 << 30}),
        ("web", "reset", {}),
        ("web", "clone", {"target": "web2"}),
        ("web", "snapshot", {"snapshot": "before", "quiesce": False}),
        ("web", "rollback", {"snapshot": "before", "start": True}),
        ("web", "remove-snapshot", {"snapshot": "before"}),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("guest", "delete", "web"),
        ("guest", "reset", "web"),
        ("network", "delete", "lan"),
        ("token", "revoke", "x"),
    ],
)
def test_what_cannot_be_brought_back_needs_yes(skep: Cli, words: tuple[str, ...]) -> None:
    done = skep(*words)
    assert (done.code, done.out) == (77, "")
    assert done.err.endswith("say --yes\n")
    assert skep.api.engine.work == {}


def test_plan_and_apply(skep: Cli, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[guest.a]\n[guest.b]\n")
    assert skep("plan", str(site)).out == "  + create guest a\n  + create guest b\n2 steps\n"
    assert len(json.loads(skep("plan", str(site), "--json").out)["steps"]) == 2
    assert skep("apply", str(site)).code == 77
    assert skep("apply", str(site), "--yes").code == 0
    again = skep("apply", str(site))
    assert (again.code, again.out) == (0, "nothing to do: the host is as the definition says\n")
    assert skep("plan", "-", stdin="[guest.a]\n").code == 0
    assert "[guest.a]" in skep("export").out
    site.write_text("[")
    done = skep("plan", str(site))
    assert done.code == 65
    assert done.err.startswith(f"{site}:1: this is not TOML")
    site.write_bytes(b"[guest.a]\n# \xff")
    assert skep("plan", str(site)).err.startswith(f"{site}:2: this is not UTF-8")
    site.write_text("[schedule]\n")
    assert "! schedules: not built yet" in skep("plan", str(site)).out
    assert skep("apply", str(site), "--yes").code == 65


def test_work_that_fails_is_cancelled_or_goes_on(skep: Cli) -> None:
    skep.api.engine.hold = True
    done = skep("guest", "start", "web", "--no-wait")
    assert (done.code, done.out) == (0, "op1\n")
    skep.api.engine.finish("op1", "failed", "the disk is full")
    done = skep("operation", "wait", "op1")
    assert done.code == 70
    assert "start guest web: failed: the disk is full; `skep operation show op1` says more" in done.err
    assert "the disk is full" in skep("operation", "show", "op1").out
    skep("guest", "start", "web", "--no-wait")
    assert skep("operation", "cancel", "op2").err == "op2: cancelled\n"
    assert skep("operation", "cancel", "op2").code == 65
    assert skep("operation", "log", "op2").code == 0


def test_a_change_that_could_cut_the_line_is_confirmed(skep: Cli, tmp_path: Path) -> None:
    skep.api.engine.confirming = True
    site = tmp_path / "site.toml"
    site.write_text("[guest.a]\n")
    done = skep("apply", str(site), "--yes")
    assert done.code == 75
    assert "`skep operation confirm op1` keeps it" in done.err
    assert skep("operation", "confirm", "op1").code == 0
    site.write_text("[guest.b]\n")
    assert skep("apply", str(site), "--yes", "--confirm").code == 0


def test_tokens(skep: Cli) -> None:
    done = skep("token", "create", "ci", "--role", "viewer")
    secret = done.out.strip()
    assert skep("guest", "list", SKEP_TOKEN=secret).code == 0
    assert skep("guest", "start", "web", SKEP_TOKEN=secret).code == 77
    identity = json.loads(skep("token", "list", "--json").out)[0]["id"]
    assert skep("token", "revoke", identity, "--yes").code == 0
    assert skep("guest", "list", SKEP_TOKEN=secret).code == 77


def test_host_doctor_events_images_and_log(skep: Cli) -> None:
    shown = skep("host", "show").out
    assert "hive" in shown
    assert "fast: ? cores, 4 threads" in shown
    assert "ada0  512 GiB  Flash  S1      passed  3 %" in shown
    assert json.loads(skep("host", "show", "--json").out)["inventory"]["drives"][0]["smart"]["worn"] == 3
    done = skep("doctor")
    assert (done.code, "no 8021q in this kernel" in done.out) == (69, True)
    assert skep("image", "pull", "small:1", "http://images/").code == 0
    assert "small" in skep("image", "list").out
    assert skep("image", "remove", "small", "--yes").code == 0
    assert "operation.started" in skep("events").out
    assert json.loads(skep("events", "--json", "--after", "1").out)[0]["number"] == 2
    assert skep("guest", "log", "web", "--bytes", "4").out.startswith("789")


def test_what_a_machine_needs_is_printed_and_checked(skep: Cli, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text("[host]\n")
    printed = skep("host", "prepare", str(site))
    assert (printed.code, printed.err) == (0, "")
    assert printed.out == (
        '### /etc/rc.conf\n# pools at boot\nzfs_enable="YES"\n'
        "\n### /etc/devfs.rules\n# by hand\n[skep_bhyve=19999]\nadd hide\n"
    )
    checked = skep("host", "prepare", str(site), "--check")
    assert checked.code == 78
    assert checked.out.splitlines()[1].split() == [
        "missing", "/etc/devfs.rules", "[skep_bhyve=19999]", "is", "not", "there",
    ]  # fmt: skip
    as_json = skep("host", "prepare", str(site), "--check", "--json")
    assert (as_json.code, [need["state"] for need in json.loads(as_json.out)]) == (78, ["present", "missing"])
    site.write_text("")
    wrong = skep("host", "prepare", str(site))
    assert (wrong.code, wrong.err) == (65, f"{site}:1: the section [host] is missing; write [host]\n")


def test_images_are_published_and_verified_here(skep: Cli, tmp_path: Path) -> None:
    key, source, folder = tmp_path / "key", tmp_path / "disk.raw", tmp_path / "images"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    source.write_bytes(bytes(1 << 20))
    words = ["--to", str(folder), "--key", str(key), "--name", "tiny", "--image-version", "1", "--format", "raw"]
    done = skep("image", "publish", str(source), *words)
    assert (done.code, done.err) == (0, "published tiny 1: 1 MiB, raw\n")
    signers = tmp_path / "signers"
    signers.write_text("me@example.org " + Path(f"{key}.pub").read_text())
    done = skep("image", "verify", str(folder), "tiny:1", "--allowed-signers", str(signers))
    assert (done.code, done.err) == (0, "tiny 1 is as me@example.org signed it\n")
    (stored,) = (path for path in (folder / "tiny" / "1").iterdir() if path.stat().st_size == 1 << 20)
    with open(stored, "r+b") as stream:
        stream.write(b"x")
    assert skep("image", "verify", str(folder), "tiny:1", "--allowed-signers", str(signers)).code == 65
