"""The tables of the synced records, one a kind, made from the declarations."""

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, DateTime, Index, Text, text
from sqlalchemy.dialects.postgresql import JSON, JSONB, UUID
from sqlmodel import Field, SQLModel

from service.records.columns import column_of
from sync_protocol.kinds import Kind
from sync_protocol.records import KINDS

# Codes compare byte by byte, so that a unit and all below it are one range of the index.
CODE = Text(collation="C")

# SQL, with the household as `h`: it is one of its grid's, neither moved away, died out nor merged.
IS_PRESENT = "coalesce(h.state, 'present') = 'present'"


def _common() -> list[Column[Any]]:
    """The columns of every kind.

    `rev`, `device`, `seq`, `stamp`, `by` belong to the latest mutation; `created_by` raised or
    wrote the record first; `received_at` is when its first mutation came in. `echo`: the latest
    mutation's own device must be sent the record too. `clocks`: the clocks of fields changed since
    the record was made, empty for a fresh one. `extra`: fields of newer apps. `offset_ms`: a
    noteworthy clock offset.
    """
    return [
        Column("id", UUID, primary_key=True),
        Column("grid", CODE, nullable=False),
        Column("rev", BigInteger, nullable=False),
        Column("deleted", Boolean, nullable=False),
        Column("device", UUID, nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("stamp", BigInteger, nullable=False),
        Column("by", Text, nullable=False),
        Column("created_by", Text, nullable=False),
        Column("received_at", DateTime(timezone=True), nullable=False),
        Column("echo", Boolean, nullable=False),
        Column("offset_ms", BigInteger),
        Column("clocks", JSONB),
        Column("extra", JSON),
    ]


def _indexes(kind: Kind) -> list[Index]:
    # With the moment, so that a first pull passes over visits before its window without looking at
    # them.
    indexes = [
        Index(f"{kind.name}_feed", "grid", "rev", *(["visited_at"] if kind.name == "visit" else []))
    ]
    match kind.name:
        case "visit":
            indexes += [
                Index("visit_when", "grid", "visited_at"),
                Index(
                    "visit_days",
                    "visited_at",
                    postgresql_using="brin",
                    postgresql_with={"pages_per_range": 32},
                ),
                Index(
                    "visit_household",
                    "household_id",
                    postgresql_where=text("household_id IS NOT NULL"),
                ),
            ]
        case "step":
            indexes += [
                Index("step_problem", "problem_id"),
                Index("step_author", "created_by", "at"),
            ]
        case "weekly_analysis":
            indexes += [Index("weekly_analysis_week", "week", "grid"), *_written(kind, "week")]
        case "monthly_summary":
            indexes += [Index("monthly_summary_month", "month", "grid"), *_written(kind, "month")]
        case "household":
            for name in ("contact", "lead"):
                member = f"{name}_member"
                indexes.append(
                    Index(
                        f"household_{name}", member, postgresql_where=text(f"{member} IS NOT NULL")
                    )
                )
        case "tie":
            indexes += [
                Index("tie_household", "household_id"),
                Index("tie_cadre", "cadre", "kind"),
            ]
        case "visit_check":
            indexes.append(Index("visit_check_visit", "visit_id"))
        case "indicator_value":
            indexes.append(Index("indicator_value_period", "indicator", "period", "grid"))
        case "problem":
            indexes += [
                Index("problem_raised", "raised_at"),
                Index("problem_visit", "visit_id", postgresql_where=text("visit_id IS NOT NULL")),
            ]
    return indexes


def _written(kind: Kind, period: str) -> list[Index]:
    """The indexes of a log by its week or month for the loop, which counts logs by the hundred
    thousand and reads none of their texts. Most logs are never changed; of these the stamp says
    when they were written, and stands in the index.
    """
    return [
        Index(
            f"{kind.name}_unchanged",
            period,
            "grid",
            postgresql_include=["stamp"],
            postgresql_where=text("clocks IS NULL AND NOT deleted"),
        ),
        Index(
            f"{kind.name}_changed",
            period,
            "grid",
            postgresql_where=text("clocks IS NOT NULL AND NOT deleted"),
        ),
    ]


def _table(kind: Kind) -> type[SQLModel]:
    columns = [*_common(), *(column_of(field) for field in kind.fields)]
    namespace: dict[str, Any] = {
        "__module__": __name__,
        "__doc__": f"{kind.zh}: the records of kind `{kind.name}`.",
        "__tablename__": kind.name,
        "__table_args__": tuple(_indexes(kind)),
        "__annotations__": {},
    }
    for column in columns:
        namespace["__annotations__"][column.name] = Any
        namespace[column.name] = Field(default=None, sa_column=column)
    make: Any = type(SQLModel)
    table: type[SQLModel] = make(
        kind.name.title().replace("_", ""), (SQLModel,), namespace, table=True
    )
    return table


TABLES: dict[str, type[SQLModel]] = {kind.name: _table(kind) for kind in KINDS.values()}
