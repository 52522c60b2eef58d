"""The tables of units and their levels; what changes in them has days, see `tree`."""

from datetime import date, datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import Boolean, Column, Date, DateTime, Index, Integer, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")


class Level(SQLModel, table=True):
    """A level of the tree, the topmost at position 1; grids stand at the last one.

    `sees_tags`: whether who supervises a unit of this level sees the tags of its households; of
    the levels above, only their counts.
    """

    __table_args__ = (UniqueConstraint("position"),)

    slug: str = Field(sa_column=Column(Text, primary_key=True))
    position: int = Field(sa_column=Column(Integer, nullable=False))
    name_zh: str = Field(sa_type=Text)
    name_en: str = Field(sa_type=Text)
    sees_tags: bool = Field(
        default=False, sa_column=Column(Boolean, nullable=False, server_default="false")
    )


class Unit(SQLModel, table=True):
    """A unit. Its code never changes, nor what it means; `parent` is the one that it was made with,
    later ones are in `unit_parent`.

    `since`: its first day, `closed`: the first day on which it is no more; None: always, still.
    `go_live`: the first day on which its grids owe their logs; None: that of the unit above.
    """

    code: str = Field(sa_column=Column(_CODE, primary_key=True))
    level: str = Field(sa_type=Text)
    parent: str | None = Field(default=None, sa_column=Column(_CODE, index=True))
    name: str = Field(sa_type=Text)
    name_mn: str | None = Field(default=None, sa_type=Text)
    kind: str = Field(default="", sa_type=Text)
    party_group: str = Field(default="none", sa_type=Text)
    since: date | None = Field(default=None, sa_column=Column(Date))
    closed: date | None = Field(default=None, sa_column=Column(Date))
    go_live: date | None = Field(default=None, sa_column=Column(Date))


class UnitParent(SQLModel, table=True):
    """The parent of a unit from a day (included) to a day (excluded; None: still), for units that
    have moved.
    """

    __tablename__ = "unit_parent"

    unit: str = Field(sa_column=Column(_CODE, primary_key=True))
    parent: str | None = Field(default=None, sa_column=Column(_CODE))
    valid_from: date = Field(sa_column=Column(Date, primary_key=True))
    valid_to: date | None = Field(default=None, sa_column=Column(Date))


class UnitName(SQLModel, table=True):
    """A former name of a unit, until the day (excluded) on which it got another; `language`: zh, or
    mn for traditional Mongolian.
    """

    __tablename__ = "unit_name"

    unit: str = Field(sa_column=Column(_CODE, primary_key=True))
    language: str = Field(sa_column=Column(Text, primary_key=True))
    name: str = Field(sa_type=Text)
    valid_from: date = Field(sa_column=Column(Date, nullable=False))
    valid_to: date = Field(sa_column=Column(Date, primary_key=True))


class UnitChange(SQLModel, table=True):
    """What was done to a unit: who, when, and the particulars."""

    __tablename__ = "unit_change"
    __table_args__ = (Index("unit_change_of_unit", "unit", "at"),)

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    staff_code: str = Field(sa_type=Text)
    unit: str = Field(sa_column=Column(_CODE, nullable=False))
    action: str = Field(sa_type=Text)
    details: dict[str, Any] = Field(sa_column=Column(JSONB, nullable=False))
