"""What the pages tell an administrator to type is typed, and the host says what it is made of."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

from conformance_lab import Lacking, only_on
from skep_helper.vocabulary import ReadInventory
from skepd.host import Host

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs/freebsd.md"
_CHANGED = ("net.link.tap.up_on_open", "net.link.tap.devfs_cloning")
"""What the page's blocks set for all of the host."""


def test_the_machine_is_told(host: Host) -> None:
    (found,) = host.perform((ReadInventory(),))
    assert found.memory > 0
    assert found.machine or found.cpu.model
    for drive in found.drives:
        assert drive.size > 0, drive


@only_on("freebsd")
def test_the_blocks_of_the_page_do_what_it_says(host: Host) -> None:
    if not shutil.which("zpool", path="/sbin:/usr/sbin"):
        raise Lacking("there is no zpool(8)")
    doc_blocks = _tool()
    before = [f"{name}={_sysctl('-n', name)}" for name in _CHANGED]
    try:
        with tempfile.TemporaryDirectory() as folder:
            assert doc_blocks.run(doc_blocks.blocks(_PAGE.read_text()), Path(folder)) == 0
    finally:
        subprocess.run(["zpool", "destroy", "-f", "skepdoc"], capture_output=True, check=False)
        _sysctl(*before)


def _tool() -> ModuleType:
    """tools/doc_blocks.py, whose folder is no package."""
    spec = importlib.util.spec_from_file_location("doc_blocks", _ROOT / "tools/doc_blocks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # dataclasses look for the module that they are made in.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _sysctl(*words: str) -> str:
    return subprocess.run(["sysctl", *words], capture_output=True, text=True, check=True).stdout.strip()
