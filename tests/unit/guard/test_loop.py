"""Tasks, futures and timers."""

from __future__ import annotations

import socket

from skep_helper.guard.loop import READ, Future, Loop, Task
from skep_helper.guard.protocol import GuardError


def finish(loop: Loop, task: Task) -> Future:
    outcome = loop.start(task)
    outcome.then(lambda _: loop.stop())
    if not outcome.done:
        loop.run()
    return outcome


def test_a_task_gets_what_it_waits_for() -> None:
    loop = Loop()

    def task() -> Task:
        answers = Future()
        loop.later(0, lambda: answers.succeed(41))
        value = yield answers
        yield loop.sleep(0.001)
        return value + 1

    assert finish(loop, task()).value == 42


def test_an_error_is_thrown_into_the_task_and_out_of_it() -> None:
    loop = Loop()

    def task() -> Task:
        yield loop.within(Future(), 0.001, "nothing came")

    error = finish(loop, task()).error
    assert isinstance(error, GuardError)
    assert (error.code, error.message) == ("timeout", "nothing came within 0 s")


def test_a_task_may_catch_it() -> None:
    loop = Loop()

    def task() -> Task:
        try:
            yield loop.within(Future(), 0, "x")
        except GuardError:
            return "caught"

    assert finish(loop, task()).value == "caught"


def test_ready_leaves_no_watch_behind() -> None:
    loop = Loop()
    one, two = socket.socketpair()

    def task() -> Task:
        two.send(b"x")
        yield loop.ready(one.fileno(), READ, 10)
        return one.recv(1)

    assert finish(loop, task()).value == b"x"
    assert not loop._selector.get_map()
    one.close()
    two.close()


def test_a_watch_ended_in_the_same_round_is_not_called() -> None:
    loop = Loop()
    pairs = [socket.socketpair() for _ in range(2)]
    called: list[int] = []

    def arrived(number: int) -> None:
        called.append(number)
        for ours, _ in pairs:
            loop.unwatch(ours.fileno())
        loop.later(0, loop.stop)

    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(b"x")
        loop.watch(ours.fileno(), READ, lambda _, number=number: arrived(number))  # type: ignore[misc]
    loop.run()
    assert len(called) == 1
    for pair in pairs:
        for end in pair:
            end.close()


def test_a_fault_in_one_task_ends_no_other() -> None:
    loop = Loop()

    def broken() -> Task:
        yield loop.sleep(0)
        raise KeyError("surprise")

    def sound() -> Task:
        yield loop.sleep(0.01)
        return "done"

    fault = loop.start(broken())
    assert finish(loop, sound()).value == "done"
    assert isinstance(fault.error, KeyError)
