"""What users get wrong: one line that says what and what to do, and an exit code of sysexits(3)."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_lab import Cli


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["gust"], 64, "skep: there is no command 'gust'; did you mean 'guest'?\n"),
        (["guest", "lst"], 64, "skep: no such command 'lst'"),
        (["guest", "list", "--jsn"], 64, "skep: no such option"),
        (["guest", "show"], 64, "skep: missing argument 'NAME'; `skep guest show --help` says more\n"),
        (["guest", "show", "wbe"], 66, "skep: there is no guest 'wbe'"),
        (["guest", "set", "web"], 64, "skep: nothing to change; give KEY=VALUE or --file\n"),
        (["guest", "set", "web", "cpus"], 64, "skep: 'cpus' is not KEY=VALUE; write e.g. memory=2G\n"),
        (["guest", "set", "web", "memry=1G"], 65, 'skep: memry: there is no such key; did you mean "memory"?\n'),
        (["guest", "set", "web", "--memory", "lots"], 64, "skep: invalid value for '--memory': 'lots' is not a size"),
        (["disk", "grow", "web", "root", "0"], 64, "skep: invalid value for 'SIZE'"),
        (["guest", "console", "web"], 64, "skep: a console needs a terminal; `skep guest log web`"),
        (["plan", "/nowhere/site.toml"], 66, "skep: /nowhere/site.toml: No such file or directory\n"),
        (["image", "pull", "small", "http://x/"], 64, "skep: 'small' has no version; write small:VERSION\n"),
        (["--url", "unix:/nowhere", "guest", "list"], 69, "skep: /nowhere: nobody listens; is skepd running?"),
        (["--url", "ftp://x", "guest", "list"], 78, "skep: 'ftp://x' is not an address of Skep; write https://HOST"),
        (["--url", "http://example.org", "guest", "list"], 78, "skep: http://example.org: a token never travels"),
        (["--url", "https://[", "guest", "list"], 78, "skep: 'https://[' is not an address of Skep"),
        (["--token-file", "/nowhere", "guest", "list"], 78, "skep: /nowhere: there is no such file\n"),
    ],
)
def test_a_mistake_is_one_line(skep: Cli, words: list[str], code: int, text: str) -> None:
    done = skep(*words)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(text)
    assert done.err.count("\n") == 1


def test_a_token_that_others_can_read_is_not_used(skep: Cli, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("skep-1-2")
    file.chmod(0o644)
    done = skep("--token-file", str(file), "guest", "list")
    assert done.code == 78
    assert "chmod 600" in done.err
    file.chmod(0o600)
    assert skep("--token-file", str(file), "guest", "list").code == 77


def test_every_command_has_help(skep: Cli) -> None:
    from skep.cli.main import COMMANDS

    text = skep("--help").out
    for name, (_, summary) in COMMANDS.items():
        assert f"  {name}" in text
        done = skep(name, "--help")
        assert done.code == 0, done.err
        assert done.out.startswith(f"Usage: skep {name}")
        assert summary


def test_completion(skep: Cli) -> None:
    assert "_SKEP_COMPLETE" in skep("completion", "bash").out
    asked = {"_SKEP_COMPLETE": "bash_complete", "COMP_CWORD": "3"}
    assert skep(COMP_WORDS="skep guest show w", **asked).out == "plain,web\n"
    assert skep(COMP_WORDS="skep guest show w", SKEP_URL="unix:/nowhere", **asked).out.strip() == ""


def test_a_reader_that_had_enough_is_no_error(skep: Cli) -> None:
    import subprocess

    from cli_lab import SKEP

    for number in range(200):
        skep.api.engine.views("guest")
        skep.api.engine._event("kind", f"padding-{number}" * 50)
    done = subprocess.Popen([*SKEP, "events"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=skep.environment)
    assert done.stdout is not None
    assert done.stderr is not None
    assert len(done.stdout.read(10)) == 10
    done.stdout.close()
    assert done.stderr.read() == b""
    assert done.wait(60) in (0, 1)
    done.stderr.close()


def test_the_reference_is_checked_in() -> None:
    from skep.cli import manual

    checked_in = Path(__file__).parents[3] / "docs" / "cli.md"
    assert checked_in.read_text() == manual.text(), "run: python -m skep.cli.manual > docs/cli.md"
