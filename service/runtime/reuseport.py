"""Several service processes at one address, each with a socket of its own.

At a socket that processes share, whoever wakes first takes all connections that wait; when coverage
comes back to a whole city, one process would serve all phones and the others none. With
SO_REUSEPORT the system spreads new connections over the sockets.
"""

import signal
import socket
import sys

from uvicorn import Config
from uvicorn.supervisors import Multiprocess

from service.kit import metrics
from sync_protocol.texts import Text

_HANG_UP = getattr(signal, "SIGHUP", None)


class AddressTaken(Exception):
    """Somebody else listens there."""


def can_spread() -> bool:
    """Whether the system spreads connections over sockets; elsewhere the last one would get them
    all.
    """
    return sys.platform == "linux"


class Workers(Multiprocess):
    """Uvicorn's supervisor; a hang-up ends it, as it ends a service of one process, or is ignored
    as before.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        ignored = _HANG_UP is not None and signal.getsignal(_HANG_UP) is signal.SIG_IGN
        super().__init__(config, sockets)
        if _HANG_UP is not None and ignored:
            signal.signal(_HANG_UP, signal.SIG_IGN)

    def keep_subprocess_alive(self) -> None:
        """Starts others in place of processes that have died, and forgets what those said of
        themselves.
        """
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            if pid is not None:
                metrics.forget_process(pid)

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
