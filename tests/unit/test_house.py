"""Rules of the house that a machine can check."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "packages").rglob("*.py")) + sorted((ROOT / "tools").rglob("*.py"))
BARE = ("model", "plan", "apply", "platform", "engine", "helper_client", "images")
PUBLIC_ROOT = ROOT / "packages" / "skep-helper"


def _trees() -> Iterator[tuple[Path, ast.Module]]:
    for path in SOURCES:
        yield path, ast.parse(path.read_text())


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def test_there_are_sources() -> None:
    assert len(SOURCES) > 100


def test_modules_are_small() -> None:
    assert {path.name: lines for path in SOURCES if (lines := path.read_text().count("\n")) > 500} == {}


def test_functions_fit_a_screen() -> None:
    long = [
        f"{path.name}:{node.name}"
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 70
    ]
    assert long == []


def test_protocols_are_small() -> None:
    large = [
        node.name
        for path, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
        and sum(isinstance(item, ast.FunctionDef) for item in node.body) > 8
    ]
    # The engine's contract is what the API may ask; it is one interface on purpose.
    assert set(large) <= {"Engine"}


def test_no_shell() -> None:
    shells = [
        f"{path.name}:{call.lineno}"
        for path, tree in _trees()
        for call in _calls(tree)
        if any(word.arg == "shell" for word in call.keywords)
        or (isinstance(call.func, ast.Attribute) and call.func.attr in ("system", "popen"))
    ]
    assert shells == []


def test_platforms_do_not_leak() -> None:
    """Which platform we run on is decided in one place of each side; nobody else asks."""
    asking = {
        str(path.relative_to(ROOT / "packages"))
        for path, tree in _trees()
        if ROOT / "packages" in path.parents
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in ("platform", "uname")
        and isinstance(node.value, ast.Name)
        and node.value.id in ("sys", "os", "platform")
    }
    assert asking <= {"skep-helper/skep_helper/platforms.py", "skepd/skepd/platform/here.py"}


@pytest.mark.parametrize("part", ["skep_helper", *BARE])
def test_core_needs_nothing_installed(part: str) -> None:
    """The root side and the core import the standard library and ourselves only."""
    import sys

    folder = PUBLIC_ROOT / "skep_helper" if part == "skep_helper" else ROOT / "packages/skepd/skepd" / part
    allowed = {*sys.stdlib_module_names, "skep_helper", "skepd", "skep"}
    foreign = {
        f"{path.name}: {name}"
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _imported(node)
        if name.split(".")[0] not in allowed
    }
    assert foreign == set()


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def test_asyncio_lives_in_api_and_gateway() -> None:
    using = {
        path.relative_to(ROOT / "packages/skepd/skepd").parts[0]
        for path in (ROOT / "packages/skepd/skepd").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if "asyncio" in _imported(node)
    }
    assert using <= {"api", "gateway"}


def test_nothing_is_left_open() -> None:
    """No stub and no note to do it later."""
    words = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
    left = [
        f"{path.name}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "#" in line and any(f"# {word}" in line for word in words)
    ]
    stubs = [path.name for path, tree in _trees() for call in _calls(tree) if _name(call) == "NotImplementedError"]
    assert left == []
    assert stubs == []


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else ""


def test_installer_shell_is_posix() -> None:
    for script in sorted((ROOT / "tools").glob("*.sh")):
        done = subprocess.run(["sh", "-n", str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
