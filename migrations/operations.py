"""What the statements of a migration do to processes of the release before: which take something
away, which locks they take.

A statement is read from the SQL that Alembic writes without a database. What is not known here as
an expansion counts as a contraction: so nothing slips through because nobody thought of it.
"""

import io
import re
from collections.abc import Sequence
from typing import NamedTuple

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext

import migrations

# Locks by what they keep others from, the mildest first.
NO_LOCK, ROWS, WRITES, ALL = "none", "rows", "writes", "all"
LOCKS = (NO_LOCK, ROWS, WRITES, ALL)
_NAME = r'(?:public\.)?"?(\w+)"?'
_SPACE = re.compile(r"\s+")
_COMMENT = re.compile(r"--[^\n]*")
_CONSTANT = re.compile(
    r"(?:'[^']*'(?:::\w+(?:\[\])?)?|-?\d+(?:\.\d+)?|true|false|null|now\(\)|current_timestamp)",
    re.IGNORECASE,
)
# What may follow ALTER TABLE … without taking anything away from those who know the table as it
# was.
_EXPANDING_ACTIONS = (
    r"ALTER COLUMN \w+ DROP NOT NULL",
    r"ALTER COLUMN \w+ SET DEFAULT .+",
    r"ALTER COLUMN \w+ SET (?:STATISTICS|STORAGE) .+",
    r"SET \(.+\)",
    r"RESET \(.+\)",
    r"OWNER TO .+",
)


class Operation(NamedTuple):
    """A statement. `table`: the one that it changes, if it names one; `lock`: what it keeps others
    from meanwhile; `contracts`: why it is no expansion, empty where it is one.
    """

    statement: str
    table: str | None
    lock: str
    contracts: str


def operations_of(revision: str) -> list[Operation]:
    """Every statement of a migration's way up."""
    script = migrations.scripts().get_revision(revision)
    assert script is not None
    return read(statements_of(script.module), getattr(script.module, "widens", ()))


def undeclared(declared: "migrations.Declared", operations: list[Operation]) -> list[str]:
    """What a migration takes away although it says that processes of an older release may run
    beside it: a line each.
    """
    if declared.compatible_from == declared.revision:
        return []
    return [
        f"{declared.revision}: {operation.contracts}: {operation.statement[:120]}"
        for operation in operations
        if operation.contracts
    ]


def statements_of(module: object) -> list[str]:
    """The SQL of a migration's way up, as it is written without a database."""
    written = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": written}
    )
    with Operations.context(context):
        module.upgrade()  # type: ignore[attr-defined]
    return [
        text
        for part in split(written.getvalue())
        if (text := _SPACE.sub(" ", _COMMENT.sub("", part)).strip())
    ]


def split(sql: str) -> list[str]:
    """Statements, at semicolons outside of quotes and of $$ bodies."""
    parts, begin = [], 0
    for found in re.finditer(r"'(?:[^']|'')*'|\$\$.*?\$\$|--[^\n]*|(;)", sql, re.DOTALL):
        if found[1]:
            parts.append(sql[begin : found.start()])
            begin = found.end()
    return [*parts, sql[begin:]]


def read(statements: list[str], widens: Sequence[str] = ()) -> list[Operation]:
    """What each does; a table that the same migration makes is nobody's yet.

    `widens`: constraints of which the migration says that it makes them wider: it drops them, and
    adds them NOT VALID.
    """
    made: set[str] = set()
    found = []
    for statement in statements:
        operation = _read(statement, widens)
        if operation.table in made:
            operation = operation._replace(lock=NO_LOCK, contracts="")
        found.append(operation)
        new = re.match(
            rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{_NAME}", statement, re.IGNORECASE
        )
        if new:
            made.add(new[1])
    return found


def _read(statement: str, widens: Sequence[str]) -> Operation:
    def match(pattern: str) -> "re.Match[str] | None":
        return re.fullmatch(pattern, statement, re.IGNORECASE | re.DOTALL)

    if found := match(rf"CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?{_NAME}.*"):
        if match(r".* REFERENCES .*"):
            return Operation(statement, found[1], WRITES, "a foreign key to a table that is there")
        return Operation(statement, found[1], NO_LOCK, "")
    if found := match(
        rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?(?:IF NOT EXISTS )?\w+ ON (?:ONLY )?{_NAME}.*"
    ):
        unique = "a unique index over a table that is there" if found[1] else ""
        slow = "" if found[2] else "an index that is not built CONCURRENTLY keeps writers out"
        return Operation(statement, found[3], NO_LOCK if found[2] else WRITES, unique or slow)
    if match(r"(?:CREATE|CREATE OR REPLACE) FUNCTION .*|CREATE TYPE .*"):
        return Operation(statement, None, NO_LOCK, "")
    if found := match(rf"CREATE (?:OR REPLACE )?TRIGGER .*? ON {_NAME}.*"):
        return Operation(statement, found[1], WRITES, "")
    if found := match(rf"(?:INSERT INTO|UPDATE) {_NAME}.*"):
        return Operation(statement, found[1], ROWS, "")
    if found := match(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?{_NAME} (.*)"):
        why = next(
            (why for action in _actions(found[2]) if (why := _contraction(action, widens))), ""
        )
        validates = re.fullmatch(r"VALIDATE CONSTRAINT \w+", found[2], re.IGNORECASE)
        return Operation(
            statement, found[1], NO_LOCK if validates else ALL, "" if validates else why
        )
    if match(r"(?:COMMENT ON|GRANT|SELECT|SET) .*|BEGIN|COMMIT"):
        return Operation(statement, None, NO_LOCK, "")
    if found := match(rf"DROP TABLE (?:IF EXISTS )?{_NAME}.*"):
        return Operation(statement, found[1], ALL, "a table is dropped")
    if found := match(rf"LOCK TABLE {_NAME}.*"):
        return Operation(statement, found[1], ALL, "a table is locked")
    if match(r"DROP INDEX CONCURRENTLY .*"):
        return Operation(statement, None, NO_LOCK, "an index is dropped")
    return Operation(statement, None, ALL, "it is not known as an expansion")


def _actions(text: str) -> list[str]:
    """The actions of an ALTER TABLE, at commas outside of brackets and quotes."""
    parts, begin, depth = [], 0, 0
    for found in re.finditer(r"'(?:[^']|'')*'|[(),\[\]]", text):
        sign = found[0]
        depth += (sign in "([") - (sign in ")]") if len(sign) == 1 else 0
        if sign == "," and depth == 0:
            parts.append(text[begin : found.start()].strip())
            begin = found.end()
    return [*parts, text[begin:].strip()]


def _contraction(action: str, widens: Sequence[str]) -> str:
    """Why an action of an ALTER TABLE is no expansion; empty where it is one."""
    constraint = re.fullmatch(
        r"DROP CONSTRAINT (\w+)|ADD CONSTRAINT (\w+) .* NOT VALID", action, re.IGNORECASE
    )
    if constraint and (constraint[1] or constraint[2]) in widens:
        return ""
    added = re.fullmatch(r"ADD (?:COLUMN )?(?:IF NOT EXISTS"
                         r" )?(?!CONSTRAINT\b|PRIMARY\b|UNIQUE\b|CHECK\b|FOREIGN\b|EXCLUDE\b)(\w+)"
                         r" (.*)",
                         action, re.IGNORECASE)  # fmt: skip
    if added:
        return _contraction_of_column(added[1], added[2])
    if any(re.fullmatch(pattern, action, re.IGNORECASE) for pattern in _EXPANDING_ACTIONS):
        return ""
    # NOT VALID spares the rows that are there; those that the release before writes it does not.
    for begins, why in (
        ("DROP COLUMN", "a column is dropped"),
        ("DROP", "a column or constraint is dropped"),
        ("RENAME", "something is renamed"),
        ("ADD", "a constraint over columns that are there"),
    ):
        if action.upper().startswith(begins):
            return why
    if re.fullmatch(r"ALTER COLUMN \w+ (?:SET DATA )?TYPE .*", action, re.IGNORECASE):
        return "a column gets another type"
    if re.fullmatch(r"ALTER COLUMN \w+ SET NOT NULL", action, re.IGNORECASE):
        return "a column must not be NULL any more"
    return "it is not known as an expansion"


def _contraction_of_column(name: str, text: str) -> str:
    if re.search(r"\bGENERATED\b", text, re.IGNORECASE):
        return f"the column {name} is computed for every row, which rewrites the table"
    if re.search(r"\b(?:UNIQUE|PRIMARY KEY|REFERENCES|CHECK)\b", text, re.IGNORECASE):
        return f"the column {name} has a constraint of its own"
    default = re.search(r"\bDEFAULT (.+?)(?: NOT NULL| NULL)?$", text, re.IGNORECASE)
    if default and not _CONSTANT.fullmatch(default[1].strip()):
        return f"the default of the column {name} is no constant, which rewrites the table"
    if re.search(r"\bNOT NULL\b", text, re.IGNORECASE) and not default:
        return f"the column {name} must not be NULL and has no default"
    return ""
