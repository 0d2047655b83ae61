"""Room for everything that clients can make the helper hold."""

from __future__ import annotations

import os
import resource

from skep_helper import main, server, wire


def test_all_connections_fit_into_the_descriptors_of_the_process() -> None:
    assert server.MOST_CONNECTIONS * (1 + 2 * wire.MOST_DESCRIPTORS) < main.DESCRIPTORS / 2
    pid = os.fork()
    if pid == 0:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        main.allow_descriptors()
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        os._exit(0 if soft == (main.DESCRIPTORS if hard < 0 else min(main.DESCRIPTORS, hard)) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
