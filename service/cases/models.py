"""The table of cases: where each problem stands, folded from its steps."""

from datetime import datetime
from uuid import UUID as Uuid

from sqlalchemy import Boolean, Column, DateTime, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)

IS_OPEN = "state IN ('raised','accepted','assigned','handling','returned','reopened')"


# What is rejected or joined is outside every count.
IS_COUNTED = "state NOT IN ('rejected', 'joined')"


# Assigned to a unit or a cadre, perhaps elsewhere, and not ended.
IS_ASSIGNED = "assigned AND ended_at IS NULL"


class CaseRow(SQLModel, table=True):
    """A problem's case. Written only by the fold; times are those of the steps, `due` is the limit.

    `assigned`: whether the handlers are those of an assignment that stands.
    """

    __tablename__ = "case_file"
    __table_args__ = (
        Index("case_raised", "grid", "raised_at"),
        Index(
            "case_newest", "raised_at", "problem", postgresql_include=["grid", "severity", "state"]
        ),
        Index(
            "case_resolved_when",
            "resolved_at",
            postgresql_include=["grid", "raised_at"],
            postgresql_where=text(IS_COUNTED),
        ),
        Index(
            "case_resolver",
            "resolved_by",
            "resolved_at",
            postgresql_include=["grid", "raised_at", "state"],
        ),
        Index(
            "case_due",
            "due",
            postgresql_include=["grid", "severity", "handler_cadre"],
            postgresql_where=text(IS_OPEN),
        ),
        Index("case_resolved", "grid", "resolved_at"),
        Index("case_open", "grid", postgresql_where=text(IS_OPEN)),
        Index("case_assigned_unit", "handler_unit", postgresql_where=text(IS_ASSIGNED)),
        Index("case_assigned_cadre", "handler_cadre", postgresql_where=text(IS_ASSIGNED)),
        Index(
            "case_escalated",
            "grid",
            "raised_at",
            postgresql_where=text(f"escalated > 0 AND {IS_OPEN}"),
        ),
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
    assigned: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )
    received_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    category: str | None = Field(default=None, sa_column=Column(_CODE))
