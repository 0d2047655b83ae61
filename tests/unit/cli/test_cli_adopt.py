"""`skep adopt vm-bhyve`, as a user calls it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cli_lab import Cli

sys.path.insert(0, str(Path(__file__).parents[1] / "adoption"))
from adoption_samples import TEMPLATES, foreign, reading

GUESTS = (foreign("web", TEMPLATES["linux-zvol"]), foreign("old", TEMPLATES["freebsd-zvol"]))


def test_a_dry_run_says_what_would_happen_and_does_nothing(skep: Cli) -> None:
    skep.api.engine.foreign = reading(*GUESTS, autostart=("web",))
    done = skep("adopt", "vm-bhyve", "--dry-run")
    assert done.code == 0, done.err
    assert "guest web can be taken over\n" in done.out
    assert "guest old cannot be taken over\n  ! /zroot/vm/old/old.conf:1: loader=bhyveload" in done.out
    assert "  * /etc/rc.conf: vm-bhyve would still start web when the host boots: sysrc vm_list-=web" in done.out
    assert not skep.api.engine.objects.keys() & {"guest/web"}
    found = json.loads(skep("adopt", "vm-bhyve", "--dry-run", "--json", "web").out)
    assert [one["disks"] for one in found["guests"]] == [{"disk0": "zroot/vm/web/disk0"}]
    assert "public" in found["networks"]


def test_all_that_can_be_taken_over_is_and_can_be_given_back(skep: Cli) -> None:
    skep.api.engine.foreign = reading(*GUESTS)
    asked = skep("adopt", "vm-bhyve")
    assert (asked.code, "say --yes" in asked.err) == (77, True)
    done = skep("adopt", "vm-bhyve", "--yes")
    assert (done.code, "done: adopt from vm-bhyve" in done.err) == (0, True)
    assert "web" in skep("guest", "list").out
    undone = skep("adopt", "vm-bhyve", "--undo", "--yes", "web")
    assert (undone.code, "done: give back" in undone.err) == (0, True)
    assert "web" not in skep("guest", "list", "--json").out


def test_a_named_guest_that_cannot_be_taken_over_is_an_error(skep: Cli) -> None:
    skep.api.engine.foreign = reading(*GUESTS)
    done = skep("adopt", "vm-bhyve", "--yes", "web", "old")
    assert done.code == 65
    assert "nothing was taken over; the lines with ! say what stands against it of old" in done.err


def test_wrong_words_are_usage_errors(skep: Cli) -> None:
    for words in (("--undo",), ("--network", "public"), ("--network", "=lan")):
        done = skep("adopt", "vm-bhyve", *words)
        assert done.code == 64, (words, done)
    assert "there is no profile 'dos'" in skep("adopt", "vm-bhyve", "--profile", "dos").err
