"""What a machine needs for a site, whatever its platform, looked at or not."""

from __future__ import annotations

import importlib

from skepd.model.schema import Place
from skepd.model.site import Site
from skepd.plan.needs import Need

PLATFORMS = {
    "freebsd": ("skepd.platform.freebsd.prepare", "skepd.platform.freebsd.look"),
    "linux": ("skepd.platform.linux.prepare", "skepd.platform.linux.prepare"),
}
"""Platform -> the module that has needs(site, machine), and the one that has look()."""


def prepare(site: Site, *, here: str, check: bool) -> tuple[Need, ...]:
    """What the machine that a site is for needs. here: the platform of this one, which is meant when the site is for
    any. check: look at this machine, and say of each need how it is.

    Raises DefinitionError, also for a check of a machine of another platform; OSError when a file cannot be read.
    """
    place = Place(site.source).at("host").at("platform")
    wanted = site.host_part.host.platform or here
    if wanted not in PLATFORMS:
        raise place.error("this site is for any platform", 'write platform = "freebsd" or platform = "linux"')
    if check and wanted != here:
        hint = "check it on that machine; without --check its lines are printed anywhere"
        raise place.error(f"this site is for {wanted}, and this machine runs {here}", hint)
    needs, look = (importlib.import_module(name) for name in PLATFORMS[wanted])
    found: tuple[Need, ...] = needs.needs(site, look.look() if check else None)
    return found
