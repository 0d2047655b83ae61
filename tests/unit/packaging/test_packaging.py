"""What is packed for FreeBSD: rc.d scripts, manual pages, ports, and that they agree with the code."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from skep.cli import mdoc as commands
from skep_helper import main as helper
from skep_helper import policy
from skepd.daemon import main as daemon
from skepd.daemon import prepare as preparing
from skepd.gateway import main as gateway
from skepd.model import mdoc as definitions
from skepd.platform.freebsd import prepare
from skepd.platform.here import here

ROOT = Path(__file__).parents[3]
PACKAGING = ROOT / "packaging/freebsd"
PORTS = PACKAGING / "ports/sysutils"
PAGES = sorted((PACKAGING / "man").iterdir())
NAMES = ("skep", "skepd", "skep-helper", "skep-openstack")
SCRIPTS = {path.stem: path for path in sorted(PORTS.glob("*/files/*.in"))}
SERVICES = ("skep_helper", "skepd", "skep_gateway")


@dataclass
class Machine:
    """A place for a script to run in: its prefix, what rc.conf says, and what the stand-in wrote down."""

    root: Path

    def script(self, name: str) -> Path:
        text = SCRIPTS[name].read_text().replace("%%PREFIX%%", str(self.root / "local"))
        text = text.replace("/etc/rc.subr", str(Path(__file__).with_name("rc.subr")))
        text = text.replace("/bin/pkill", "pkill").replace(
            "/etc/defaults/periodic.conf", str(self.root / "periodic.conf")
        )
        path = self.root / name
        path.write_text(text)
        return path

    def tool(self, name: str, code: int = 0) -> None:
        """A program of ours, or of the system, that writes down how it was called."""
        folder = self.root / ("local/bin" if name.startswith("skep") else "bin")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name
        path.write_text(f'#!/bin/sh\nfor word in {name} "$@"; do echo "$word"; done >> "$RC_RECORD"\nexit {code}\n')
        path.chmod(0o755)

    def run(self, script: str, *words: str, rc_conf: str = "") -> tuple[int, list[str], str]:
        """Exit code, what was written down, and what it printed."""
        record, conf = self.root / "record", self.root / "rc.conf"
        record.write_text("")
        conf.write_text(rc_conf)
        environment = {"PATH": f"{self.root}/bin:{os.environ['PATH']}", "RC_RECORD": str(record), "RC_CONF": str(conf)}
        done = subprocess.run(
            ["sh", str(self.script(script)), *words], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, record.read_text().splitlines(), done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = Machine(tmp_path)
    for name in ("skep", "skepd", "skep-helper", "skep-gateway", "skep-prepare", "install", "pkill"):
        found.tool(name)
    policy_file = tmp_path / "local/etc/skep/policy.toml"
    policy_file.parent.mkdir(parents=True)
    policy_file.write_text("")
    return found


def started(record: list[str]) -> list[str]:
    """The command line that `start` would run."""
    return record[record.index("run") + 1 :]


def after_options(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """daemon(8)'s options, and the program that it runs."""
    assert argv[0] == "/usr/sbin/daemon"
    options: dict[str, str] = {}
    rest = argv[1:]
    while rest[0].startswith("-"):
        flag = rest.pop(0)
        options[flag] = rest.pop(0) if flag in ("-P", "-p", "-t", "-o", "-u", "-R") else ""
    return options, rest


def test_there_are_scripts() -> None:
    assert set(SCRIPTS) == {*SERVICES, "skep_guests", "490.status-skep"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_are_plain_sh(name: str) -> None:
    text = SCRIPTS[name].read_text()
    assert text.startswith("#!/bin/sh\n")
    assert "bash" not in text
    done = subprocess.run(["sh", "-n", str(SCRIPTS[name])], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", [*SERVICES, "skep_guests"])
def test_rcorder_finds_its_words(name: str) -> None:
    words = dict(re.findall(r"^# (PROVIDE|REQUIRE|KEYWORD): (.*)$", SCRIPTS[name].read_text(), re.MULTILINE))
    assert words["PROVIDE"] == name
    assert words["KEYWORD"] == "nojail shutdown"
    before = {"skep_helper": "DAEMON kld", "skepd": "skep_helper", "skep_gateway": "skepd", "skep_guests": "skepd"}
    assert words["REQUIRE"] == before[name]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_off_unless_they_are_switched_on(name: str, machine: Machine) -> None:
    code, record, said = machine.run(name, "start")
    assert (code, record, said) == (0, [], f"Cannot 'start' {name}.\n")


def test_the_helper_starts(machine: Machine) -> None:
    conf = 'skep_helper_enable="YES"\nskep_helper_flags="--socket /tmp/x"\n'
    code, record, said = machine.run("skep_helper", "start", rc_conf=conf)
    assert (code, said) == (0, "")
    modules = [record[index + 1] for index, word in enumerate(record) if word == "module"]
    assert tuple(modules) == prepare.MODULES
    options, program = after_options(started(record))
    assert options == {
        "-c": "", "-f": "", "-H": "", "-r": "", "-R": "5", "-P": "/var/run/skep_helper.pid",
        "-p": "/var/run/skep_helper.child.pid", "-t": "skep_helper", "-o": "/var/log/skep/skep_helper.log",
    }  # fmt: skip
    local = f"{machine.root}/local"
    assert program == [f"{local}/bin/skep-helper", "--policy", f"{local}/etc/skep/policy.toml", "--socket", "/tmp/x"]
    assert helper._options(program[1:]).policy == Path(f"{local}/etc/skep/policy.toml")


def test_skepd_starts_as_its_user(machine: Machine) -> None:
    conf = f'skepd_enable="YES"\nskepd_state="{machine.root}/state"\n'
    code, record, said = machine.run("skepd", "start", rc_conf=conf)
    assert (code, said) == (0, "")
    install = " ".join(record).split(" run ")[0].split("install ")[1:]
    assert install == [f"-d -o skep -g skep -m 0700 {machine.root}/state ", "-d -o skep -g skep -m 0755 /var/run/skepd"]
    options, program = after_options(started(record))
    assert (options["-u"], options["-P"]) == ("skep", "/var/run/skepd.pid")
    parsed = daemon._parser(here("freebsd14").places).parse_args(program[1:])
    assert parsed.socket == here("freebsd14").places.socket


def test_the_gateway_listens_where_it_is_told(machine: Machine) -> None:
    conf = 'skep_gateway_enable="YES"\nskep_gateway_listen="0.0.0.0:8443 [::]:8443"\n'
    code, record, said = machine.run("skep_gateway", "start", rc_conf=conf)
    assert (code, said) == (0, "")
    options, program = after_options(started(record))
    assert "-u" not in options
    parsed = gateway._parser(here("freebsd14").places).parse_args(program[1:])
    assert (parsed.listen, parsed.user, parsed.check) == (["0.0.0.0:8443", "[::]:8443"], "skepgw", False)
    assert parsed.socket == here("freebsd14").places.socket
    assert record[record.index("skep-gateway") : record.index("run")][-1] == "--check"


@pytest.mark.parametrize("name", SERVICES)
def test_services_stop_by_their_supervisor(name: str, machine: Machine) -> None:
    code, record, _ = machine.run(name, "stop", rc_conf=f'{name}_enable="YES"\n')
    assert (code, record[-4:]) == (0, ["signal", "TERM", f"/var/run/{name}.pid", "/usr/sbin/daemon"])


@pytest.mark.parametrize(
    ("name", "program"), [("skep_helper", "skep-helper"), ("skepd", "skepd"), ("skep_gateway", "skep-gateway")]
)
def test_what_is_wrong_is_neither_started_nor_reloaded(name: str, program: str, machine: Machine) -> None:
    conf = f'{name}_enable="YES"\n'
    code, record, _ = machine.run(name, "reload", rc_conf=conf)
    assert (code, record[-4:]) == (0, ["pkill", "-TERM", "-F", f"/var/run/{name}.child.pid"])
    machine.tool(program, code=78)
    assert machine.run(name, "configtest", rc_conf=conf)[0] != 0
    code, record, _ = machine.run(name, "reload", rc_conf=conf)
    assert (code != 0, "pkill" in record) == (True, False)
    if name != "skepd":
        code, record, _ = machine.run(name, "start", rc_conf=conf)
        assert (code, "run" in record) == (1, False)


def test_a_helper_without_policy_is_not_started(machine: Machine) -> None:
    (machine.root / "local/etc/skep/policy.toml").unlink()
    code, record, said = machine.run("skep_helper", "start", rc_conf='skep_helper_enable="YES"\n')
    assert (code, record) == (1, [])
    assert "policy.toml is not readable" in said


def test_a_wrong_site_fails_the_test_of_skepd(machine: Machine) -> None:
    (machine.root / "local/etc/skep/site.toml").write_text("")
    machine.tool("skep-prepare", code=65)
    assert machine.run("skepd", "configtest", rc_conf='skepd_enable="YES"\n')[0] == 1


def test_guests_stop_when_the_host_does(machine: Machine) -> None:
    code, record, said = machine.run("skep_guests", "stop", rc_conf='skepd_enable="YES"\n')
    assert (code, record, said) == (0, ["skep", "host", "down", "--yes"], "Stopping the guests of Skep.\n")
    assert machine.run("skep_guests", "start", rc_conf='skepd_enable="YES"\n')[:2] == (0, [])
    assert machine.run("skep_guests", "stop")[1] == []
    assert machine.run("skep_guests", "stop", rc_conf='skepd_enable="YES"\nskep_guests_enable="NO"\n')[1] == []


@pytest.mark.parametrize(
    ("doctor", "guests", "setting", "code", "says"),
    [
        (0, 0, "", 0, True),
        (69, 0, "", 3, True),
        (0, 69, "", 2, True),
        (0, 0, 'daily_status_skep_enable="NO"', 0, False),
    ],
)
def test_the_daily_report(machine: Machine, doctor: int, guests: int, setting: str, code: int, says: bool) -> None:
    (machine.root / "periodic.conf").write_text(f"source_periodic_confs() {{ :; }}\n{setting}\n")
    skep = machine.root / "local/bin/skep"
    skep.write_text(f'#!/bin/sh\n[ "$1" = doctor ] && exit {doctor}\nexit {guests}\n')
    found, _, said = machine.run("490.status-skep")
    assert (found, "Guests of Skep:" in said) == (code, says)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_manual_pages_pass_mandoc(page: Path) -> None:
    assert shutil.which("mandoc"), "install mandoc (tools/test-packages)"
    done = subprocess.run(["mandoc", "-Tlint", "-W", "warning", str(page)], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_generated_pages_are_checked_in() -> None:
    """`make docs` makes them."""
    assert (PACKAGING / "man/site.toml.5").read_text() == definitions.render()
    assert (PACKAGING / "man/skep.1").read_text() == commands.text()


@pytest.mark.parametrize(
    ("page", "parser"),
    [
        ("skepd.8", lambda: daemon._parser(here("freebsd14").places)),
        ("skepd.8", preparing.parser),
        ("skep-gateway.8", lambda: gateway._parser(here("freebsd14").places)),
        ("skep-helper.8", helper.parser),
    ],
)
def test_manual_pages_tell_every_option(page: str, parser: object) -> None:
    made: argparse.ArgumentParser = parser()  # type: ignore[operator]
    text = (PACKAGING / "man" / page).read_text()
    options = {word for action in made._actions for word in action.option_strings if word.startswith("--")}
    missing = {option for option in options - {"--help"} if f"Fl Fl {option[2:]}" not in text}
    assert missing == set()


def test_the_policys_page_tells_every_key() -> None:
    text = (PACKAGING / "man/skep-helper.8").read_text()
    assert {name for name in policy.Policy.__dataclass_fields__ if name not in text} == set()
    sample = (PACKAGING / "policy.toml.sample").read_text()
    assert policy.parse(dict(uplinks=[])).uplinks == ()
    commented = re.sub(r"^# ([a-z_]+ = )", r"\1", sample, flags=re.MULTILINE)
    for text in (sample, commented):
        assert set(prepare_policy(text)) <= set(policy.Policy.__dataclass_fields__)


def prepare_policy(text: str) -> dict[str, object]:
    import tomllib

    table = tomllib.loads(text)
    policy.parse(table)
    return table


def test_the_rule_set_is_the_one_that_prepare_prints() -> None:
    text = (PACKAGING / "devfs.rules").read_text()
    assert tuple(line for line in text.splitlines() if not line.startswith("#")) == prepare.BY_HAND


def test_logs_are_rotated_where_they_are_written() -> None:
    lines = [line.split() for line in (PACKAGING / "newsyslog.conf.sample").read_text().splitlines()]
    found = {line[0]: line[-1] for line in lines if line and not line[0].startswith("#")}
    assert found == {f"/var/log/skep/{name}.log": f"/var/run/{name}.pid" for name in SERVICES}


# --- ports ---


def makefile(name: str) -> dict[str, str]:
    """Variables of a port's Makefile, continued lines joined."""
    text = (PORTS / name / "Makefile").read_text().replace("\\\n", " ")
    return {key: " ".join(value.split()) for key, value in re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE)}


def installed(name: str) -> set[str]:
    """What `post-install` puts below the prefix; manual pages are compressed after it."""
    text = (PORTS / name / "Makefile").read_text()
    found = set()
    for kind, source, target in re.findall(
        r"^\t\$\{INSTALL_([A-Z]+)\} (\S+) \$\{STAGEDIR\}\$\{PREFIX\}/(\S+)$", text, re.M
    ):
        base = source.rpartition("/")[2]
        where = source.replace("${SKEP_PACKAGING}", str(PACKAGING)).replace("${WRKDIR}/${DISTNAME}", str(ROOT))
        generated = base in makefile(name).get("SUB_FILES", "").split()
        assert generated or Path(where).is_file(), source
        found.add(f"{target}.gz" if kind == "MAN" else target)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_list_of_a_port_is_what_it_installs(name: str) -> None:
    plist = PORTS / name / "pkg-plist"
    lines = plist.read_text().splitlines() if plist.exists() else []
    files = {line.removeprefix("@sample ") for line in lines if not line.startswith("@dir")}
    assert files == installed(name)
    assert len(files) == len([line for line in lines if not line.startswith("@dir")])
    for line in lines:
        if line.startswith("@sample "):
            assert line.endswith(".sample")


@pytest.mark.parametrize("name", NAMES)
def test_files_of_a_port_are_all_used(name: str) -> None:
    variables = makefile(name)
    used = {*variables.get("USE_RC_SUBR", "").split(), *variables.get("SUB_FILES", "").split()}
    assert {path.stem for path in (PORTS / name / "files").glob("*.in")} == used
    assert {"autoplist", "pep517"} <= set(variables["USE_PYTHON"].split())
    assert (PORTS / name / "pkg-descr").read_text().strip()
    assert f"DISTVERSION=	{version(name)}" in (PORTS / name / "Makefile").read_text()


def version(name: str) -> str:
    return project(name)["version"]  # type: ignore[no-any-return]


def project(name: str) -> dict[str, object]:
    import tomllib

    table: dict[str, object] = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())["project"]
    return table


@pytest.mark.parametrize("name", NAMES)
def test_a_port_needs_what_its_distribution_needs(name: str) -> None:
    wanted = project(name)["dependencies"]
    assert isinstance(wanted, list)
    packages = {re.split(r"[<>=]", text)[0] for text in wanted}
    given = set(re.findall(r"\$\{PYTHON_PKGNAMEPREFIX\}([a-z0-9-]+)>", makefile(name).get("RUN_DEPENDS", "")))
    assert given == packages


def test_every_user_of_a_port_has_a_line() -> None:
    for variable, file in (("USERS", "UIDs"), ("GROUPS", "GIDs")):
        lines = (PACKAGING / "ports" / file).read_text().splitlines()
        there = {line.split(":")[0] for line in lines if not line.startswith("#")}
        assert {word for name in NAMES for word in makefile(name).get(variable, "").split()} == there


def test_wheels_have_the_programs_that_scripts_call(tmp_path: Path) -> None:
    """The real wheels: what `autoplist` will list, and the programs that rc.d scripts expect in PREFIX/bin."""
    uv = shutil.which("uv") or str(ROOT / "build/uv/bin/uv")
    programs: set[str] = set()
    for name in NAMES:
        argv = [uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), str(ROOT / "packages" / name)]
        subprocess.run(argv, check=True, capture_output=True)
        module = name.replace("-", "_")
        (wheel,) = tmp_path.glob(f"{module}-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            points = [entry for entry in names if entry.endswith("entry_points.txt")]
            for entry in points:
                programs |= set(re.findall(r"^(\S+) = ", archive.read(entry).decode(), re.MULTILINE))
        sources = ROOT / "packages" / name / module
        expected = {
            str(path.relative_to(sources.parent))
            for path in sources.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {entry for entry in names if ".dist-info/" not in entry} == expected
    called = {
        program
        for script in SCRIPTS.values()
        for program in re.findall(r"%%PREFIX%%/bin/([a-z-]+)", script.read_text())
    }
    assert called <= programs
    assert {"skep", "skepd", "skep-helper", "skep-gateway", "skep-prepare"} == programs
