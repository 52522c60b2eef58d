"""The table of cases: where each problem stands, folded from its steps."""

from datetime import datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import Column, Computed, DateTime, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import TSTZRANGE, UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)

IS_OPEN = "state IN ('raised','accepted','assigned','handling','returned','reopened')"

# From raised to resolved; empty for what counts nowhere. What was open at a moment is found by one index, however long ago it was.
OPEN_DURING = (
    "CASE WHEN state IN ('rejected', 'joined') THEN 'empty'::tstzrange"
    " ELSE tstzrange(raised_at, CASE WHEN resolved_at < raised_at THEN raised_at ELSE resolved_at END) END"
)


class CaseRow(SQLModel, table=True):
    """A problem's case. Written only by the fold; times are those of the steps, `due` is the limit."""

    __tablename__ = "case_file"
    __table_args__ = (
        Index("case_raised", "grid", "raised_at"),
        Index("case_newest", "raised_at", "problem", postgresql_include=["grid", "severity", "state"]),
        Index("case_resolved_when", "resolved_at", postgresql_include=["grid", "raised_at", "state"]),
        Index("case_resolver", "resolved_by", "resolved_at"),
        Index("case_open_during", "open_during", postgresql_using="gist"),
        Index("case_resolved", "grid", "resolved_at"),
        Index("case_open", "grid", postgresql_where=text(IS_OPEN)),
        Index("case_escalated", "grid", "raised_at", postgresql_where=text(f"escalated > 0 AND {IS_OPEN}")),
    )

    problem: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    grid: str = Field(sa_column=Column(_CODE, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    duty: str = Field(sa_column=Column(Text, nullable=False))
    severity: str = Field(sa_column=Column(Text, nullable=False))
    handler_unit: str = Field(sa_column=Column(_CODE, nullable=False))
    handler_cadre: str | None = Field(default=None, sa_column=Column(Text))
    raised_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    raised_by: str = Field(sa_column=Column(Text, nullable=False))
    resolved_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    resolved_by: str | None = Field(default=None, sa_column=Column(Text))
    ended_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    due: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    satisfied: str | None = Field(default=None, sa_column=Column(Text))
    escalated: int = Field(default=0, sa_column=Column(Integer, nullable=False))
    received_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    open_during: Any = Field(default=None, sa_column=Column(TSTZRANGE, Computed(OPEN_DURING, persisted=True)))
