"""A pull that is killed at any moment leaves nothing visible, and the next one goes on from what is right."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from image_doubles import FAST, FolderHost, Published, ScriptedHandler, ScriptedServer
from skep.images.manifest import CHUNK
from skepd.images.pull import pull

PROGRAM = """
import sys
from pathlib import Path
from image_doubles import FAST, FolderHost
from dataclasses import replace
from skepd.images.pull import pull
folder, url, signers, connections = sys.argv[1:]
options = replace(FAST, connections=int(connections), stall_seconds=60)
pull(FolderHost(Path(folder)), "small", "1.0", [url], Path(signers), options=options)
"""


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("at", [0, 1, 3, 4])
def test_killed_and_completed(
    host: FolderHost,
    published: Published,
    serve: Callable[..., ScriptedServer],
    at: int,
    connections: int,
) -> None:
    reached = threading.Event()

    def half_then_hang(handler: ScriptedHandler) -> bool:
        if not handler.is_range or handler.wanted[0] != at * CHUNK:
            return False
        body = handler.content()
        handler.answer(206, body[: len(body) // 2], Content_Length=str(len(body)))
        reached.set()
        handler.sleep()
        return handler.drop()

    bad = serve(published.folder, half_then_hang)
    arguments = [str(host.folder), bad.url, str(published.signers), str(connections)]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=Path(__file__).parent, stderr=subprocess.PIPE
    ) as process:
        try:
            assert reached.wait(60)
        finally:
            process.kill()
    assert host.visible == []
    assert host.parts == ["small:1.0"]

    good = serve(published.folder)
    result = pull(host, "small", "1.0", [good.url], published.signers, options=FAST)
    assert (host.folder / "visible" / "small:1.0").read_bytes() == published.content
    if connections == 1:
        # One after the other: everything before the chunk that hung was there, and zeros are never fetched.
        assert len(good.ranges) == sum(index >= at for index in (0, 1, 3, 4))
        assert result.resumed >= at * CHUNK
