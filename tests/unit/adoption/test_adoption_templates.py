"""What becomes of a guest of each of vm-bhyve's templates: golden definitions, or why not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from adoption_samples import BY_UEFI, TEMPLATES, as_zvol, foreign, reading
from skep_helper.vocabulary import VmBhyveDisk
from skepd.adoption.adoption import examine
from skepd.adoption.guests import Choices, Converted
from skepd.model.definitions import parse_object, render_object
from skepd.model.desired import Desired
from skepd.model.names import Kind

GOLDEN = Path(__file__).parent / "golden"


def converted(name: str, text: str, **fields: object) -> tuple[Converted, str]:
    """The guest, and all definitions that come of it, as one text."""
    found = examine(reading(foreign(name, text, **fields)), Desired(), {}, (), Choices())  # type: ignore[arg-type]
    (one,) = found.guests
    objects = [*found.networks, *one.ports, *([one.guest] if one.guest else [])]
    texts = [f"# {type(value).__name__} {value.name}\n{render_object(value)}" for value in objects]
    notes = "".join(f"# {item}\n" for item in one.findings)
    return one, "\n".join(texts) + "\n" + notes


@pytest.mark.parametrize("template", BY_UEFI)
def test_a_guest_that_starts_by_uefi_becomes_this(template: str) -> None:
    one, text = converted("web", as_zvol(TEMPLATES[template]))
    file = GOLDEN / f"{template}.toml"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()
    assert one.guest is not None
    assert parse_object(Kind.GUEST, render_object(one.guest), "guest.toml") == one.guest


@pytest.mark.parametrize("template", sorted(TEMPLATES.keys() - set(BY_UEFI)))
def test_a_guest_with_another_loader_is_refused_with_the_way_out(template: str) -> None:
    one, _ = converted("web", as_zvol(TEMPLATES[template]))
    assert one.guest is None
    (refusal,) = [str(item) for item in one.findings if item.refuses]
    line = next(n for n, text in enumerate(TEMPLATES[template].splitlines(), 1) if text.startswith("loader"))
    assert refusal.startswith(f"/zroot/vm/web/web.conf:{line}: loader=")
    assert "set loader=uefi, see that it starts under vm-bhyve, then adopt it" in refusal
    assert "EFI system partition" in refusal


def test_a_file_is_refused_with_the_commands_that_make_a_zvol_of_it() -> None:
    file = VmBhyveDisk(name="disk0.img", kind="file", size=(20 << 30) + 5)
    one, _ = converted("web", TEMPLATES["linux"], disks=(file,))
    assert one.guest is None
    (refusal,) = [item.text for item in one.findings if item.refuses]
    assert (
        "zfs create -s -V 20481M -o volmode=dev zroot/vm/web/disk0 && "
        "dd if=/zroot/vm/web/disk0.img of=/dev/zvol/zroot/vm/web/disk0 bs=1m conv=sparse && "
        "sysrc -f /zroot/vm/web/web.conf disk0_dev=sparse-zvol disk0_name=disk0, then adopt again"
    ) in refusal
