"""What becomes of a request: every error that a handler may raise, as a code and a sentence."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import log
from .handlers import Failure
from .vocabulary.fields import Rejected

_CODES = {
    errno.ENOSPC: ("full", "no space left; free some in the pool"),
    errno.EDQUOT: ("full", "the quota is used up"),
    errno.ENOENT: ("missing", "there is no such file"),
    errno.EMFILE: ("busy", "too many files are open"),
    errno.ENFILE: ("busy", "too many files are open on this host"),
}


@dataclass
class Outcome:
    """code: empty when it was done; see skepd.host.HostError for the others."""

    answer: Any = None
    code: str = ""
    message: str = ""


def outcome_of(work: Callable[[], Any]) -> Outcome:
    """Run it; nothing that it raises gets out, because one bad request must not end the helper."""
    try:
        return Outcome(answer=work())
    except Rejected as error:
        return Outcome(code="rejected", message=str(error))
    except Failure as error:
        return Outcome(code=error.code, message=error.message)
    except OSError as error:
        code, words = _CODES.get(error.errno or 0, ("failed", error.strerror or str(error)))
        return Outcome(code=code, message=f"{error.filename or 'the host'}: {words}")
    except Exception as error:  # noqa: BLE001 - a defect of a handler: told with its place, answered as failed
        place = traceback.extract_tb(error.__traceback__)[-1]
        log.line("defect", kind=type(error).__name__, error=error, file=place.filename, line=place.lineno)
        return Outcome(code="failed", message=f"a defect of the helper ({type(error).__name__}); see its log")
