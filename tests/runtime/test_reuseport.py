"""The first process waits for service processes that are slow, and replaces those that are gone."""

import multiprocessing
import signal
from collections.abc import Iterator

import pytest
import uvicorn

from service.runtime import reuseport
from service.runtime.reuseport import ANSWER_S, START_S, WatchedProcess


class Silent(WatchedProcess):
    """A process that answers when it is told to."""

    answers = False

    def target(self, sockets: object = None) -> None:
        """What runs in the process: nothing, until a signal comes."""
        signal.pause()

    def ping(self, timeout: float = 5) -> bool:
        """Whether it answers."""
        return self.answers


class Clock:
    """The time that passes in this test."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the supervisor reads."""
    clock = Clock()
    monkeypatch.setattr(reuseport, "time", clock)
    return clock


@pytest.fixture
def process(clock: Clock) -> Iterator[Silent]:
    """A running process that has not answered yet."""
    silent = Silent(uvicorn.Config("app", workers=2), [])
    silent.start()
    yield silent
    silent.kill()
    silent.process.join()


def test_a_process_that_takes_long_to_start_is_waited_for(process: Silent, clock: Clock) -> None:
    clock.now += START_S - 1
    assert process.is_alive()
    clock.now += 2
    assert not process.is_alive()


def test_a_process_that_has_answered_may_be_silent_for_a_while(
    process: Silent, clock: Clock
) -> None:
    process.answers = True
    assert process.is_alive()
    process.answers = False
    clock.now += ANSWER_S - 1
    assert process.is_alive()
    clock.now += 2
    assert not process.is_alive()


def test_a_process_that_has_ended_is_not_waited_for(process: Silent) -> None:
    assert isinstance(process.process, multiprocessing.process.BaseProcess)
    process.process.kill()
    process.process.join()
    assert not process.is_alive()
