"""What is kept of indicators beside the values, which are records, and the indicators, which are
terms of the vocabulary.
"""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Column, Date, DateTime, Float, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel


def _code() -> Column[str]:
    return Column(Text(collation="C"), primary_key=True)


class IndicatorTarget(SQLModel, table=True):
    """What a unit is to reach in a period, in place of what the indicator says for all."""

    __tablename__ = "indicator_target"

    indicator: str = Field(sa_column=_code())
    period: str = Field(sa_column=_code())
    unit: str = Field(sa_column=_code())
    target: float = Field(sa_column=Column(Float, nullable=False))
    set_by: str = Field(sa_column=Column(Text, nullable=False))
    set_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))


class UnitMark(SQLModel, table=True):
    """A unit that is marked as model, weak or lagging, from a day to a day. `plan`: steps with the
    day by which each is due, and on which it was done.
    """

    __tablename__ = "unit_mark"

    unit: str = Field(sa_column=_code())
    mark: str = Field(sa_column=_code())
    valid_from: date = Field(sa_column=Column(Date, primary_key=True))
    valid_to: date | None = Field(default=None, sa_column=Column(Date))
    note: str | None = Field(default=None, sa_column=Column(Text))
    plan: Any = Field(sa_column=Column(JSONB, nullable=False))
    set_by: str = Field(sa_column=Column(Text, nullable=False))
    set_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
