"""The folder `definition/` in a guest's folder: skepd's own, which root makes once and never opens again."""

from __future__ import annotations

import os

from ..paths import Folder
from ..policy import Policy
from ..users import user_of

DEFINITION = "definition"


def make_definition(policy: Policy, folder: Folder) -> None:
    """It appears complete. The folder is left to the caller to sync."""
    if folder.exists(DEFINITION):
        return
    user, group = user_of(policy)
    temporary = f".{DEFINITION}.new"
    folder.remove_tree(temporary)
    with folder.make(temporary, durable=False) as definition:
        os.fchmod(definition.descriptor, 0o700)
        os.fchown(definition.descriptor, user, group)
        definition.sync()
    folder.rename(temporary, folder, DEFINITION, durable=False)
