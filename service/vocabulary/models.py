"""The tables of words, limits and calendar days that administrators edit."""

from datetime import date, datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Text,
    UniqueConstraint,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)


class VocabularyTerm(SQLModel, table=True):
    """A term of a list from a day (included; 0001-01-01: always) to a day (excluded; None: still),
    see `terms`. `mailbox` is its feed, `rev` its place there. Never deleted: it ends.
    """

    __tablename__ = "vocabulary_term"
    __table_args__ = (
        UniqueConstraint("list", "code", "valid_from"),
        Index("vocabulary_feed", "mailbox", "rev"),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    mailbox: str = Field(sa_column=Column(_CODE, nullable=False))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
    list: str = Field(sa_column=Column(Text, nullable=False))
    code: str = Field(sa_column=Column(Text, nullable=False))
    name_zh: str = Field(sa_column=Column(Text, nullable=False))
    name_en: str = Field(sa_column=Column(Text, nullable=False))
    name_mn: str | None = Field(default=None, sa_column=Column(Text))
    position: int = Field(sa_column=Column(Integer, nullable=False))
    valid_from: date = Field(sa_column=Column(Date, nullable=False))
    valid_to: date | None = Field(default=None, sa_column=Column(Date))
    attributes: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
    changed_by: str = Field(sa_column=Column(Text, nullable=False))
    changed_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))


class CalendarYear(SQLModel, table=True):
    """That a list of days of a year was uploaded for a unit: for the topmost one the official
    calendar, for any other its local holidays.
    """

    __tablename__ = "calendar_year"

    unit: str = Field(sa_column=Column(_CODE, primary_key=True))
    year: int = Field(sa_column=Column(Integer, primary_key=True))
    uploaded_by: str = Field(sa_column=Column(Text, nullable=False))
    uploaded_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))


class CalendarDay(SQLModel, table=True):
    """A day that is worked, or off, in a unit and all below it, whatever the day of the week."""

    __tablename__ = "calendar_day"

    unit: str = Field(sa_column=Column(_CODE, primary_key=True))
    day: date = Field(sa_column=Column(Date, primary_key=True))
    works: bool = Field(sa_column=Column(Boolean, nullable=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
