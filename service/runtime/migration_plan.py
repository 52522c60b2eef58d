"""What `gridloop migrate` would do: a row for each migration, read from its statements and the
sizes of the tables. Changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import asyncpg
from rich.table import Column, Table

import migrations
from migrations import Declared, operations
from service.kit.database_limits import UNLIMITED
from service.kit.localization import Language, in_language
from service.runtime.migrating import rewriting
from service.runtime.tables import Tables, tables_of
from sync_protocol.texts import Text

_SIZES = """
    SELECT c.relname AS name, greatest(c.reltuples, 0)::bigint AS rows,
           pg_size_pretty(pg_total_relation_size(c.oid)) AS size,
           c.reltuples < 0 AS is_unknown
    FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
        AND c.relname = ANY ($1::text[])
"""
_NONE = Text("–")
# The longest word of the heading above ‘yes’ and ‘no’.
_ANSWER_WIDTH = 10
_HOW_LONG = {True: Text("for a moment"), False: Text("as long as it takes")}
_KEPT_OUT = {
    operations.ROWS: Text("writers of the rows that it changes in {tables}, {how_long}"),
    operations.WRITES: Text("writers of {tables}, {how_long}"),
    operations.ALL: Text("everybody from {tables}, {how_long}"),
}


class Size(NamedTuple):
    """How large a table is just now: about so many rows, and bytes with indexes as people read
    them.
    """

    name: str
    rows: int
    size: str


class Planned(NamedTuple):
    """A migration that would run.

    `rewrites`: tables of which every row is written anew or read. `locks`: whom it keeps out of
    which tables, and for how long. `older_go_on`: whether processes of the release whose tables the
    database has may go on running.
    """

    declared: Declared
    rewrites: list[Size]
    locks: list[Text]
    older_go_on: bool


class Plan(NamedTuple):
    """What would happen to a database. `back`: the migrations that would be taken back, the newest
    first. `begun`: how far each rewrite has come with which it would go on.
    """

    tables: Tables
    to: str
    forward: list[Planned]
    back: list[Declared]
    begun: list[Text]


async def plan(url: str, to: str | None = None) -> Plan:
    """What a migration of the database at a URL would do, up or back to a revision, the newest if
    none is named.

    Raises `migrations.NoSuchRevision`.
    """
    target = to or migrations.revisions()[0]
    migrations.between(None, target)
    connection = await asyncpg.connect(url, server_settings=UNLIMITED.server_settings())
    try:
        tables = await tables_of(connection)
        if tables.are_newer:
            return Plan(tables, target, [], [], [])
        back = (
            []
            if tables.revision is None
            else [*reversed(migrations.between(target, tables.revision))]
        )
        forward = [] if back else [*migrations.between(tables.revision, target)]
        return Plan(
            tables,
            target,
            [await _planned(connection, item, tables.revision) for item in forward],
            back,
            await rewriting(connection),
        )
    finally:
        await connection.close()


async def _planned(
    connection: "asyncpg.Connection[asyncpg.Record]", item: Declared, revision: str | None
) -> Planned:
    sizes = []
    for row in await connection.fetch(_SIZES, list(item.rewrites)):
        rows = (
            await connection.fetchval(f'SELECT count(*) FROM "{row["name"]}"')
            if row["is_unknown"]
            else row["rows"]
        )
        sizes.append(Size(row["name"], rows, row["size"]))
    known = migrations.revisions()[::-1]
    oldest = migrations.compatible_from(item.revision)
    older_go_on = revision is None or known.index(oldest) <= known.index(revision)
    return Planned(item, sizes, _locks(item), older_go_on)


def _locks(item: Declared) -> list[Text]:
    """Whom a migration keeps out, the strictest last. It is one transaction, so what it has locked
    stays locked to its end; one that works online does all that takes long before.
    """
    strictest: dict[str, str] = {}
    for operation in operations.operations_of(item.revision):
        if operation.table is not None:
            before = strictest.get(operation.table, operations.NO_LOCK)
            strictest[operation.table] = max(before, operation.lock, key=operations.LOCKS.index)
    how_long = _HOW_LONG[item.online or not item.rewrites]
    found = []
    for lock, text in _KEPT_OUT.items():
        tables = [table for table, kept in strictest.items() if kept == lock]
        if tables:
            found.append(Text(text.id, tables=", ".join(tables), how_long=how_long))
    return found


def table_of(plan: Plan, language: Language) -> Table:
    """The plan for people."""

    def shown(text: str) -> str:
        return in_language(text, language)

    def column(text: Text, width: int | None = None) -> Column:
        """Of that width at most, so that the others have room where the screen is narrow; nothing
        is cut.
        """
        return Column(shown(text), max_width=width, overflow="fold")

    if plan.back:
        table = Table(
            column(Text("revision")),
            column(Text("what is taken back")),
            column(Text("what that would lose")),
            title=shown(
                Text(
                    "back from revision {revision} to {to}",
                    revision=plan.tables.revision,
                    to=plan.to,
                )
            ),
            show_lines=True,
        )
        for item in plan.back:
            table.add_row(
                item.revision,
                shown(item.summary),
                shown(_NONE if item.loses is None else item.loses),
            )
        return table
    before = plan.tables.revision or Text("none")
    table = Table(
        column(Text("revision")),
        column(Text("what it does")),
        column(Text("rewrites or reads whole")),
        column(Text("keeps out")),
        column(Text("processes of the release before may go on"), _ANSWER_WIDTH),
        title=shown(Text("from revision {revision} to {to}", revision=before, to=plan.to)),
        show_lines=True,
    )
    for step in plan.forward:
        table.add_row(
            step.declared.revision,
            shown(step.declared.summary),
            "\n".join(_size(size, step.declared.online, language) for size in step.rewrites)
            or shown(_NONE),
            "\n".join(map(shown, step.locks)) or shown(_NONE),
            shown(Text("yes") if step.older_go_on else Text("no")),
        )
    return table


def _size(size: Size, online: bool, language: Language) -> str:
    rows = f"{size.rows:,}"
    bytes_ = size.size.replace(" bytes", " B")
    if online:
        text = Text(
            "{table}: about {rows} rows, {size}, while others read and write",
            table=size.name,
            rows=rows,
            size=bytes_,
        )
    else:
        text = Text("{table}: about {rows} rows, {size}", table=size.name, rows=rows, size=bytes_)
    return in_language(text, language)


def stops_older(plan: Plan) -> Sequence[Planned]:
    """The planned migrations before which processes of the release before must end."""
    return [step for step in plan.forward if not step.older_go_on]
