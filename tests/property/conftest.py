from __future__ import annotations

import threading

import pytest
from skepd.platform.sim import Died


@pytest.fixture
def quiet_deaths(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that dies with its skepd is no news."""
    hook = threading.excepthook
    monkeypatch.setattr(threading, "excepthook", lambda args: None if args.exc_type is Died else hook(args))
