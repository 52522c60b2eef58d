"""Rewriting large tables while others read and write them: by ranges of the key, each a transaction
of its own, resumable.

`rewrite` copies a table beside itself with other columns, a trigger keeps the copy up to date
meanwhile, and at the end, in a moment, the copy takes its place: the same columns in the same order
as ALTER TABLE would leave, and nothing dead in it. `fill` is for a migration that fills a new
column. How far each has come is kept in the table `rewrite_position`, so that a migration that was
killed goes on there when it is run again; once it is through nothing of that stays.

What is called from `upgrade()` of a migration commits what that has done before, see `alembic`'s
`autocommit_block`. A small table is not worth it, and neither is anything without a database: then
the caller does the same in one statement.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

from service.kit.localization import in_language, language_of_the_terminal
from sync_protocol.texts import Text

# A table of less is rewritten in one statement: that takes a moment.
SMALL_BYTES = 32 << 20
# Rows of a range, and a rest between two, for others.
ROWS = 20_000
PAUSE_S = 0.0
_TELL_EVERY_S = 5.0
_POSITION = (
    "CREATE TABLE IF NOT EXISTS rewrite_position (name TEXT PRIMARY KEY, after TEXT[], rows BIGINT"
    " NOT NULL DEFAULT 0,"
    " begun_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now())"
)


def is_worth_it(table: str) -> bool:
    """Whether there is a database here whose table is so large that nobody should wait for it, or
    on which such work has begun: the table may have shrunk since.
    """
    if op.get_context().as_sql:
        return False
    is_large = "pg_relation_size(to_regclass(:name)) >= :small"
    # What a work leaves half done is called so.
    has_begun = (
        "EXISTS (SELECT FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        " AND relname ~ ('^' || :name || '_.*new$|^' || :name || '_new$'))"
    )
    return bool(_value(f"SELECT {is_large} OR {has_begun}", name=table, small=SMALL_BYTES))


def is_there(name: str) -> bool:
    """Whether there is a database here with a table, or an index that is good, of that name."""
    return not op.get_context().as_sql and bool(
        _value(
            "SELECT to_regclass(:name) IS NOT NULL AND NOT EXISTS (SELECT FROM pg_index"
            " WHERE indexrelid = to_regclass(:name) AND NOT indisvalid)",
            name=name,
        )
    )


def _value(sql: str, **values: Any) -> Any:
    return op.get_bind().execute(sa.text(sql), values).scalar()


def _rows(sql: str, **values: Any) -> Sequence[Any]:
    return op.get_bind().execute(sa.text(sql), values).all()


# ------------------------------------------------------------------------------------------- ranges


def fill(name: str, table: str, key: Sequence[str], work: str, rows: int | None = None) -> None:
    """Runs a statement over every range of a table's key, as `in_ranges` does, and forgets how far
    it had come in the transaction in which the migration ends.

    `work` must be such that a range may be done twice: the last one is, after a kill. `rows`: of
    how many a range is, where each is much work.
    """
    with op.get_context().autocommit_block():
        in_ranges(name, table, key, work, rows)
    _forget(name)


def in_ranges(
    name: str, table: str, key: Sequence[str], work: str, rows: int | None = None
) -> None:
    """Runs a statement over every range of a table's key. To be called outside of a transaction.

    `work` takes the rows of a range from `part`, a CTE that holds them locked against changes:
    `UPDATE t SET … FROM part WHERE …` or `INSERT INTO … SELECT … FROM part`. Rows that are written
    meanwhile are a trigger's. `name` is that under which the position is kept; run again, it goes
    on from there.
    """
    op.execute(_POSITION)
    op.execute(
        sa.text(
            "INSERT INTO rewrite_position (name) VALUES (:name) ON CONFLICT DO NOTHING"
        ).bindparams(name=name)
    )
    types = {row.name: row.type for row in _rows(
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = to_regclass(:table) AND attnum > 0"
        " AND NOT attisdropped", table=table)}  # fmt: skip
    columns = ", ".join(key)

    def bound(which: str) -> str:
        return ", ".join(
            f"cast(cast(:{which}{place} AS text) AS {types[column]})"
            for place, column in enumerate(key)
        )

    shown = ", ".join(f"{column}::text" for column in key)
    order = ", ".join(f"t.{column}" for column in key)
    after = f"({columns}) > ({bound('low')})"
    until = f"({columns}) <= ({bound('high')})"
    about = int(
        _value(
            "SELECT greatest(reltuples, 0) FROM pg_class WHERE oid = to_regclass(:table)",
            table=table,
        )
    )
    [(low, done)] = _rows("SELECT after, rows FROM rewrite_position WHERE name = :name", name=name)
    tell = _teller(table, about, done)
    while True:
        # By the columns themselves, not by their texts that are selected, which the index does not
        # know.
        last = (
            f"SELECT {shown} FROM {table} t {'WHERE ' + after if low else ''}"
            f" ORDER BY {order} OFFSET :skip LIMIT 1"
        )
        high = next(
            (list(row) for row in _rows(last, skip=(rows or ROWS) - 1, **_named("low", low))), None
        )
        limits = " AND ".join([*([after] if low else []), *([until] if high else [])])
        statement = (
            "WITH part AS MATERIALIZED (SELECT *"
            f" FROM {table} {'WHERE ' + limits if limits else ''} FOR SHARE), done AS ({work})"
            " UPDATE rewrite_position SET after = :after, rows = rows + (SELECT count(*)"
            " FROM part) WHERE name = :name RETURNING rows"
        )
        kept = high or low
        done = _value(
            statement, name=name, after=kept, **_named("low", low), **_named("high", high)
        )
        tell(done)
        if high is None:
            return
        low = high
        if PAUSE_S:
            time.sleep(PAUSE_S)


def _named(which: str, values: Sequence[str] | None) -> dict[str, str]:
    return {f"{which}{place}": value for place, value in enumerate(values or ())}


def _teller(table: str, about: int, before: int) -> Callable[[int], None]:
    """Says on standard error now and then how far it has come."""
    began = told = time.monotonic()

    def tell(done: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < _TELL_EVERY_S:
            return
        told = now
        rate = (done - before) / (now - began)
        left = timedelta(seconds=round(max(0, about - done) / rate)) if rate else timedelta(0)
        text = Text(
            "{table}: {done} of about {about} rows, {rate} a second, {left} left",
            table=table, done=f"{done:,}", about=f"{about:,}", rate=f"{rate:,.0f}", left=str(left),
        )  # fmt: skip
        print(in_language(text, language_of_the_terminal()), file=sys.stderr, flush=True)

    return tell


def _forget(name: str) -> None:
    """Nothing of a work stays once it is through."""
    op.execute(sa.text("DELETE FROM rewrite_position WHERE name = :name").bindparams(name=name))
    if not _value("SELECT count(*) FROM rewrite_position"):
        op.execute("DROP TABLE rewrite_position")


# ------------------------------------------------------------------------------------- a table anew


def rewrite(
    table: str,
    key: Sequence[str],
    changes: Mapping[str, tuple[str, str]],
    indexes: Mapping[str, str],
) -> None:
    """Writes every row of a table anew, with columns of other types, while others read and write
    it.

    `key`: the columns of its primary key. `changes`: of a column its new type, and its value, in
    which `{row}` stands for the row. `indexes`: of each further index what stands behind `ON
    table`. Afterwards a short transaction has begun, in which the new one is in place.
    """
    new, name = f"{table}_new", f"rewrite {table}"
    columns = [row.name for row in _rows(
        "SELECT attname AS name FROM pg_attribute WHERE attrelid = to_regclass(:table)"
        " AND attnum > 0 AND NOT attisdropped"
        " ORDER BY attnum", table=table)]  # fmt: skip
    if _value("SELECT to_regclass(:new) IS NULL", new=new):
        _begin(table, new, key, columns, changes)

    def values(row: str) -> str:
        return ", ".join(
            changes[column][1].format(row=row) if column in changes else f"{row}.{column}"
            for column in columns
        )

    with op.get_context().autocommit_block():
        in_ranges(
            name,
            table,
            key,
            f"INSERT INTO {new} ({', '.join(columns)}) SELECT {values('part')} FROM part"
            " ON CONFLICT DO NOTHING",
        )
        for index, behind in indexes.items():
            build_index(f"{index}_new", new, behind)
        op.execute(f"ANALYZE {new}")
    op.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    _grant_alike(table, new)
    op.execute(f"DROP TABLE {table}")
    op.execute(f"DROP FUNCTION {table}_kept_alike()")
    op.execute(f"ALTER TABLE {new} RENAME TO {table}")
    op.execute(f"ALTER INDEX {new}_pkey RENAME TO {table}_pkey")
    for index in indexes:
        op.execute(f"ALTER INDEX {index}_new RENAME TO {index}")
    _forget(name)


def _begin(
    table: str,
    new: str,
    key: Sequence[str],
    columns: Sequence[str],
    changes: Mapping[str, tuple[str, str]],
) -> None:
    """Makes the new table, and the trigger that keeps it alike."""
    options = _value(
        "SELECT array_to_string(reloptions, ', ') FROM pg_class WHERE oid = to_regclass(:table)",
        table=table,
    )
    op.execute(f"CREATE TABLE {new} (LIKE {table} INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING"
               " COMPRESSION INCLUDING CONSTRAINTS)"
               + (f" WITH ({options})" if options else ""))  # fmt: skip
    for column, (kind, value) in changes.items():
        op.execute(
            f"ALTER TABLE {new} ALTER COLUMN {column} TYPE {kind} USING {value.format(row=new)}"
        )
    op.execute(f"ALTER TABLE {new} ADD PRIMARY KEY ({', '.join(key)})")
    given = ", ".join(
        changes[column][1].format(row="NEW") if column in changes else f"NEW.{column}"
        for column in columns
    )
    others = [column for column in columns if column not in key]
    same = " AND ".join(f"{column} = OLD.{column}" for column in key)
    # As the owner: the service's role knows nothing of the new table.
    op.execute(
        f"CREATE FUNCTION {table}_kept_alike() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = public, pg_temp AS $$"
        f" BEGIN IF TG_OP = 'TRUNCATE' THEN TRUNCATE {new}; RETURN NULL; END IF;"
        f" IF TG_OP <> 'INSERT' THEN DELETE FROM {new} WHERE {same}; END IF;"
        f" IF TG_OP <> 'DELETE' THEN INSERT INTO {new} ({', '.join(columns)}) VALUES ({given})"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET"
        f" {', '.join(f'{column} = EXCLUDED.{column}' for column in others)}; END IF; RETURN NULL;"
        " END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_kept_alike AFTER INSERT OR UPDATE OR DELETE"
        f" ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_kept_alike()"
    )
    op.execute(
        f"CREATE TRIGGER {table}_emptied_alike AFTER TRUNCATE"
        f" ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_kept_alike()"
    )


def _grant_alike(table: str, new: str) -> None:
    """The same roles may do the same with the new table."""
    for row in _rows(
        "SELECT format('GRANT %s"
        " ON %I TO %I', string_agg(a.privilege_type, ', '), cast(:new AS text), r.rolname) AS"
        " statement"
        " FROM pg_class c, aclexplode(c.relacl) AS a, pg_roles r"
        " WHERE c.oid = to_regclass(:table) AND r.oid = a.grantee AND a.grantee <> c.relowner"
        " GROUP BY r.rolname",
        table=table, new=new,
    ):  # fmt: skip
        op.execute(row.statement)


def build_index(name: str, table: str, behind: str, unique: bool = False) -> None:
    """Builds an index while others write. To be called outside of a transaction; what a killed one
    left half built is built anew.
    """
    statement = (
        f"CREATE {'UNIQUE ' if unique else ''}INDEX CONCURRENTLY IF NOT EXISTS {name}"
        f" ON {table} {behind}"
    )
    if op.get_context().as_sql:
        op.execute(statement)
        return
    if _value(
        "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass(:name)"
        " AND NOT indisvalid)",
        name=name,
    ):
        op.execute(f"DROP INDEX CONCURRENTLY {name}")
    # It keeps nobody out, so it may wait for whoever works with the table.
    limit = _value("SHOW lock_timeout")
    op.execute("SET lock_timeout = 0")
    try:
        op.execute(statement)
    finally:
        op.execute(f"SET lock_timeout = '{limit}'")
