"""Temporary folders that go with their process, and, where that was killed, with the next start.

Whoever makes one keeps it locked. The lock ends with the process, however that ends: a folder whose
lock can be taken has no owner any more. Its name says that it is of this kind, and it gets that
name once it is locked. Folders of other names, of another user, or that are links, are none of
ours, and stay.
"""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from service.runtime.stopping import held_back, stopping_in_order

log = logging.getLogger("gridloop")

_OWNED = "-owned"


@contextmanager
def own_folder(
    name: str, parent: Path | None = None, last: Callable[[Path], None] = lambda folder: None
) -> Iterator[Path]:
    """A folder that lives as long as this process needs it; removes those of the same name that
    killed processes have left beside it.

    `parent`: where to make it, else where the system keeps temporary files. `last`: what is done
    with a folder before it is removed whose owner was killed.
    """
    sweep(name, Path(tempfile.gettempdir()) if parent is None else parent, last)
    made = Path(tempfile.mkdtemp(prefix=f"gridloop-{name}-", dir=parent))
    with _opened(made) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        folder = made.rename(made.with_name(made.name + _OWNED))
        # Whoever sends a second signal must not keep it from being removed.
        with stopping_in_order():
            try:
                yield folder
            finally:
                with held_back():
                    _remove(folder)


def sweep(name: str, parent: Path, last: Callable[[Path], None] = lambda folder: None) -> None:
    """Removes the folders of a name in `parent` that are certainly ours and whose owner is dead."""
    for folder in parent.glob(f"gridloop-{name}-*{_OWNED}"):
        try:
            with _opened(folder) as handle:
                if os.fstat(handle).st_uid == os.geteuid() and _can_lock(handle):
                    last(folder)
                    _remove(folder)
                    log.warning("%s was removed: the process that had made it was killed", folder)
        except FileNotFoundError:
            pass  # its owner, or another process that starts, has just removed it
        except OSError as error:
            log.info("%s is left as it is: %r", folder, error)


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Within, this process, and those that it starts, keep temporary files in a folder."""
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    tempfile.tempdir = os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before[0]
        if before[1] is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before[1]


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder, and no link to one; no process that is started meanwhile inherits it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _can_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, onerror=_unless_gone)


def _unless_gone(_: Any, __: str, error: Any) -> None:
    """Processes that are just ending remove some of what lies in it themselves."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]
