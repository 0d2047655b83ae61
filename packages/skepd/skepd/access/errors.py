"""What can go wrong when somebody wants in, or changes who may."""

from __future__ import annotations


class Denied(Exception):
    """The proof is wrong. The text does not say which part of it."""


class Forbidden(Exception):
    """The caller is known, and this is not for him. The text says why."""


class NoSuchUser(LookupError):
    """There is no user of this name."""


class Clash(Exception):
    """The change contradicts what is there: the name is taken, or the last administrator would be gone."""


class Unfit(ValueError):
    """A password or a name that is not taken. The text says what to write instead."""


class LockedOut(Exception):
    """Too many failures. seconds: until it may be tried again."""

    def __init__(self, seconds: float) -> None:
        super().__init__("too many attempts failed; sign-in is held back for a while")
        self.seconds = seconds
