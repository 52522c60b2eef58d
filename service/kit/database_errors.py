"""Every error of PostgreSQL and of its driver: what it means, what a client is told, when it may
come again. One table.

`docs/operations/faults.md` shows it to operators. What is not in it is a fault of the service
itself, a 500: trying again would not help.
"""

from collections.abc import Iterator
from typing import NamedTuple

import asyncpg

from sync_protocol.texts import Text


class NoConnection(TimeoutError):
    """No connection of a pool became free in time, and none could be opened."""


class TablesTooNew(Exception):
    """The tables are of a newer release, over which this process may not run; `migrating.Tables`
    says which.
    """


class Fault(NamedTuple):
    """A kind of trouble with the database. Its answer is 503 with `text`, what is known of the
    request's writes, and `Retry-After`.

    `states`: SQLSTATEs, or the first characters of them; `errors`: exceptions of the driver that
    have none. `retry_after`: seconds. `means` and `to_do` are for operators.
    """

    name: str
    states: tuple[str, ...]
    errors: tuple[type[BaseException], ...]
    retry_after: int
    text: Text
    means: str
    to_do: str


# What PostgreSQL says where ‘gridloop migrate’ was forgotten.
WITHOUT_TABLES = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)
# What it says where the role of the service lacks rights: they were not granted, or taken back.
WITHOUT_RIGHTS = asyncpg.InsufficientPrivilegeError
TABLES_NEEDED = Text(
    "The database has no tables of Gridloop, or those of another release; the operator runs"
    " ‘gridloop migrate’."
)
# A statement was prepared before the tables changed. Whoever meets it has all connections forget
# their statements.
OUTDATED = (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)

TOO_SLOW = Fault(
    "too-slow",
    ("57014", "25P0"),
    (TimeoutError,),
    10,
    Text("The database took too long."),
    "`statement_timeout` or `idle_in_transaction_session_timeout` ended the work, or the exchange"
    " was at its deadline",
    "look at the load of the database and its disk and its log for slow statements; if that is"
    " usual, raise `GRIDLOOP_…STATEMENT_SECONDS`",
)
TOO_NEW = Fault(
    "tables-too-new",
    (),
    (TablesTooNew,),
    30,
    Text("The database has the tables of a newer release; this process is being replaced."),
    "a newer release has migrated the database, and processes of this one may not run over its"
    " tables",
    "start the newer release in place of this process",
)
FAULTS = (
    Fault(
        "disk-full",
        ("53100",),
        (),
        30,
        Text("The disk of the database is full."),
        "PostgreSQL has no room for data or temporary files. With no room for its log (WAL) it"
        " stops instead, which shows as `unreachable`",
        "make room on the disk of the database; nothing needs to be restarted",
    ),
    Fault(
        "read-only",
        ("25006",),
        (),
        30,
        Text("The database takes no writes just now."),
        "the server is a standby, or `default_transaction_read_only` is on",
        "point `GRIDLOOP_DATABASE_URL` at the primary, or turn the setting off",
    ),
    Fault(
        "locked",
        ("55",),
        (),
        5,
        Text("Somebody else holds what this needs in the database."),
        "`lock_timeout` ended a wait for a lock: a session holds a grid or a table for longer than"
        " `GRIDLOOP_…LOCK_SECONDS`",
        "look for the session in `pg_stat_activity` and `pg_blocking_pids`; end it with"
        " `pg_terminate_backend` if nobody needs it",
    ),
    TOO_SLOW,
    Fault(
        "contended",
        ("40",),
        (),
        1,
        Text("Others changed the same at the same time."),
        "a deadlock or a serialization failure, still after five tries",
        "nothing, unless it goes on: then look for what locks in another order",
    ),
    Fault(
        "no-resources",
        ("53",),
        (NoConnection,),
        5,
        Text("The database has no connection or memory free for this."),
        "`max_connections` is used up, memory is short, or all connections of a pool are in use",
        "raise `max_connections`, or lower `GRIDLOOP_POOL_SIZE` and the like: each process keeps"
        " the sum of the three",
    ),
    Fault(
        "not-let-in",
        ("28",),
        (),
        30,
        Text("The database does not let the service in."),
        "role, password or `pg_hba.conf` do not fit `GRIDLOOP_DATABASE_URL`",
        "correct the URL or the role, then restart",
    ),
    Fault(
        "storage",
        ("58", "F0"),
        (),
        60,
        Text("The database cannot read or write its files."),
        "PostgreSQL got an error from the operating system: a disk that fails, or files that are"
        " gone",
        "look at the logs of PostgreSQL and of the kernel, and have a backup at hand",
    ),
    Fault(
        "unreachable",
        ("08", "57", "3D000"),
        (asyncpg.InterfaceError, OSError),
        5,
        Text("The database cannot be reached."),
        "PostgreSQL is down, starting, stopping or recovering, the network is cut, or there is no"
        " such database",
        "start PostgreSQL; when it ends again and again, read its log: a full WAL disk shows as"
        " PANIC. The service connects anew by itself",
    ),
    Fault(
        "migrating",
        (),
        OUTDATED,
        1,
        Text("The tables of the database have just changed."),
        "a migration under way",
        "nothing",
    ),
    Fault(
        "no-tables",
        ("42P01", "42703"),
        (),
        60,
        TABLES_NEEDED,
        "the tables are missing, or those of another release",
        "run `gridloop migrate`",
    ),
    Fault(
        "no-rights",
        ("42501",),
        (),
        60,
        Text(
            "The role of the service lacks rights in the database; the operator runs ‘gridloop"
            " migrate’."
        ),
        "the role of `GRIDLOOP_DATABASE_URL` may not read or write a table: `gridloop migrate` has"
        " not granted it, or somebody has taken it back",
        "run `gridloop migrate`",
    ),
    TOO_NEW,
    Fault(
        "broken-connection",
        (),
        (asyncpg.InternalClientError,),
        5,
        Text("The connection to the database broke."),
        "the driver met an answer that it does not understand",
        "look at what stands between service and PostgreSQL, such as a pooler",
    ),
)


def fault_of(error: BaseException) -> Fault | None:
    """The row of the table for an error; None for a fault of the service itself."""
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and isinstance(
        error.__cause__, asyncpg.PostgresError
    ):
        # What the server said before it ended the connection.
        return fault_of(error.__cause__) or fault_of(asyncpg.ConnectionFailureError())
    state = getattr(error, "sqlstate", None) if isinstance(error, asyncpg.PostgresError) else None
    fitting = [
        (len(prefix), fault)
        for fault in FAULTS
        for prefix in fault.states
        if state is not None and state.startswith(prefix)
    ]
    if fitting:
        return max(fitting, key=lambda found: found[0])[1]
    for kind in type(error).__mro__:
        for fault in FAULTS:
            if kind in fault.errors:
                return fault
    return None


def is_of_database(error: BaseException) -> bool:
    """Whether an error can only have come from the driver or the database: of others, such as
    `OSError`, one must know where they came.
    """
    return isinstance(
        error,
        (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, NoConnection),
    )


def behind(error: BaseException) -> Iterator[BaseException]:
    """An error and those behind it: what it was raised from or while, and what SQLAlchemy has
    wrapped.
    """
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        original = getattr(at, "orig", None)
        at = original if isinstance(original, BaseException) else at.__cause__ or at.__context__


def first_of_database(error: BaseException) -> BaseException | None:
    """The driver's error with which it began, of an error and those behind it; None where the
    database has no part in it.
    """
    found = [each for each in behind(error) if is_of_database(each) or isinstance(each, OSError)]
    return found[-1] if found else None


def said(error: BaseException) -> str:
    """The first line of what PostgreSQL or the system says of an error, without its full stop."""
    lines = (str(error.args[0]) if isinstance(error, asyncpg.PostgresError) and error.args
             else str(error)).strip().splitlines()  # fmt: skip
    return lines[0].rstrip(".") if lines else type(error).__name__


def leaves_doubt(error: BaseException) -> bool:
    """Whether it is open after an error at COMMIT if the transaction was kept: unless PostgreSQL
    refused it and goes on, it is.

    An `ERROR` comes before the commit is written. `FATAL` may come after it, while it waits for a
    standby.
    """
    if not isinstance(error, asyncpg.PostgresError):
        return True
    state = error.sqlstate or "08000"
    return (
        (error.severity_en or error.severity) != "ERROR"
        or state.startswith("08")
        or state == "40003"
    )


def table() -> str:
    """The table as Markdown, for the docs."""
    rows = [
        "| name | SQLSTATE, or error of the driver | Retry-After | what it means | what to do |",
        "|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        known_by = ", ".join(
            [f"`{state}`" for state in fault.states]
            + [f"`{error.__name__}`" for error in fault.errors]
        )
        rows.append(
            f"| `{fault.name}` | {known_by} | {fault.retry_after} | {fault.means} | {fault.to_do} |"
        )
    return "\n".join(rows)
