"""Several service processes at one address, each with a socket of its own.

At a socket that processes share, whoever wakes first takes all connections that wait; when coverage
comes back to a whole city, one process would serve all phones and the others none. With
SO_REUSEPORT the system spreads new connections over the sockets.
"""

import logging
import signal
import socket
import sys
import time

from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from service.kit import metrics
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")

_HANG_UP = getattr(signal, "SIGHUP", None)
# How long a process may take to start, and to answer once it has started, before another one takes
# its place. Uvicorn ends those that do not answer within five seconds: on a busy machine, all those
# that start, again and again.
START_S = 120.0
ANSWER_S = 30.0
# How long one question waits for its answer: in that time no signal is handled.
_ASKED_S = 0.5


class AddressTaken(Exception):
    """Somebody else listens there."""


def can_spread() -> bool:
    """Whether the system spreads connections over sockets; elsewhere the last one would get them
    all.
    """
    return sys.platform == "linux"


class WatchedProcess(Process):
    """A service process that counts as alive for a while without an answer."""

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self.heard_at: float | None = None
        self.begun_at = time.monotonic()

    def is_alive(self, timeout: float = ANSWER_S) -> bool:
        """Whether it runs, and has answered within `timeout` seconds, or is still starting."""
        if not self.process.is_alive():
            return False
        if self.ping(min(timeout, _ASKED_S)):
            self.heard_at = time.monotonic()
            return True
        if self.heard_at is None:
            return self.process.is_alive() and time.monotonic() - self.begun_at < START_S
        return time.monotonic() - self.heard_at < timeout


class Workers(Multiprocess):
    """Uvicorn's supervisor; a hang-up ends it, as it ends a service of one process, or is ignored
    as before. A process that is slow to start or to answer is waited for.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        ignored = _HANG_UP is not None and signal.getsignal(_HANG_UP) is signal.SIG_IGN
        super().__init__(config, sockets)
        if _HANG_UP is not None and ignored:
            signal.signal(_HANG_UP, signal.SIG_IGN)

    def started_process(self) -> Process:
        """One more process."""
        process = WatchedProcess(self.config, self.sockets)
        process.start()
        return process

    def init_processes(self) -> None:
        """Starts the first ones."""
        self.processes = [self.started_process() for _ in range(self.processes_num)]

    def keep_subprocess_alive(self) -> None:
        """Starts others in place of processes that have died, and forgets what those said of
        themselves. One that failed to start would fail again: that ends the service.
        """
        for place, process in enumerate(self.processes):
            if self.should_exit.is_set():
                return
            if process.is_alive(ANSWER_S):
                continue
            process.kill()
            process.join()
            if process.pid is not None:
                metrics.forget_process(process.pid)
            if process.exitcode == STARTUP_FAILURE:
                log.error("service process %s failed to start; the service ends", process.pid)
                self.should_exit.set()
                return
            log.error("service process %s has ended; another takes its place", process.pid)
            self.processes[place] = self.started_process()

    def handle_ttin(self) -> None:
        """One process more is asked for."""
        self.processes_num += 1
        self.processes.append(self.started_process())

    def handle_hup(self) -> None:
        """The terminal has gone away."""
        self.handle_term()


class Processes(Workers):
    """The same with a new socket for every process that it starts."""

    def __init__(self, config: Config) -> None:
        self._given: socket.socket | None = None
        # Sockets that share a port take no notice of each other; who listens there already does so
        # without sharing, or is found now.
        _bound(config, share=False).close()
        super().__init__(config, [])

    @property
    def sockets(self) -> list[socket.socket]:
        """The socket of the process that is started now; the one before is its process's alone from
        here on, and ends with it.
        """
        if self._given is not None:
            self._given.close()
        self._given = _bound(self.config, share=True)
        return [self._given]

    @sockets.setter
    def sockets(self, _: list[socket.socket]) -> None:
        """Uvicorn hands over the sockets that all processes would share: none."""


def _bound(config: Config, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    made = socket.socket(family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        made.bind((config.host, config.port))
    except OSError as error:
        made.close()
        text = Text(
            "{address} cannot be listened at: {why}; name another --host or --port.",
            address=f"{config.host}:{config.port}",
            why=error.strerror or "",
        )
        raise AddressTaken(text) from None
    made.set_inheritable(True)
    return made
