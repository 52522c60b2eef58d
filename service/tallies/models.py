"""The tallies, kept in the transaction of the records themselves. All can be recounted from the
records (`gridloop check`).
"""

from datetime import date, datetime
from typing import Any
from uuid import UUID as Uuid

from sqlalchemy import Boolean, Column, Date, DateTime, Index, Integer, Text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field, SQLModel


def _key() -> Column[str]:
    return Column(Text(collation="C"), primary_key=True)


def _count() -> Column[int]:
    return Column(Integer, nullable=False, server_default="0")


class Tally(SQLModel, table=True):
    """What each cadre did in each grid on each day (Asia/Shanghai)."""

    day: date = Field(sa_column=Column(Date, primary_key=True))
    grid: str = Field(sa_column=_key())
    cadre: str = Field(sa_column=_key())
    visits: int = Field(default=0, sa_column=_count())
    raised: int = Field(default=0, sa_column=_count())
    resolved: int = Field(default=0, sa_column=_count())


class DutyTally(SQLModel, table=True):
    """What was done in each grid in each span under a duty that an administrator has added; those
    of the code have columns in `grid_tally`.
    """

    __tablename__ = "duty_tally"

    span: str = Field(sa_column=_key())
    grid: str = Field(sa_column=_key())
    duty: str = Field(sa_column=_key())
    visits: int = Field(default=0, sa_column=_count())
    raised: int = Field(default=0, sa_column=_count())
    resolved: int = Field(default=0, sa_column=_count())


class CategoryTally(SQLModel, table=True):
    """The problems of each category, by the words of its list, that were raised and resolved in
    each grid in each span.
    """

    __tablename__ = "category_tally"

    span: str = Field(sa_column=_key())
    grid: str = Field(sa_column=_key())
    category: str = Field(sa_column=_key())
    raised: int = Field(default=0, sa_column=_count())
    resolved: int = Field(default=0, sa_column=_count())


class GridTally(SQLModel, table=True):
    """What was done in each grid in each span, an ISO week, month, quarter, half-year or year: in
    all, and per duty; a visit counts under each of its duties.

    `late`: visits and problems of the span that came in after it. `households`, `contacts`:
    distinct households visited, each in one grid, and those of them that are contact households on
    the last day of the span. One row for all duties, for nearly every visit that comes changes it.
    """

    __tablename__ = "grid_tally"

    span: str = Field(sa_column=_key())
    grid: str = Field(sa_column=_key())
    visits: int = Field(default=0, sa_column=_count())
    raised: int = Field(default=0, sa_column=_count())
    resolved: int = Field(default=0, sa_column=_count())
    late: int = Field(default=0, sa_column=_count())
    households: int = Field(default=0, sa_column=_count())
    contacts: int = Field(default=0, sa_column=_count())
    visits_party_building: int = Field(default=0, sa_column=_count())
    raised_party_building: int = Field(default=0, sa_column=_count())
    resolved_party_building: int = Field(default=0, sa_column=_count())
    visits_social_security: int = Field(default=0, sa_column=_count())
    raised_social_security: int = Field(default=0, sa_column=_count())
    resolved_social_security: int = Field(default=0, sa_column=_count())
    visits_public_order: int = Field(default=0, sa_column=_count())
    raised_public_order: int = Field(default=0, sa_column=_count())
    resolved_public_order: int = Field(default=0, sa_column=_count())
    visits_emergency: int = Field(default=0, sa_column=_count())
    raised_emergency: int = Field(default=0, sa_column=_count())
    resolved_emergency: int = Field(default=0, sa_column=_count())
    visits_social_relief: int = Field(default=0, sa_column=_count())
    raised_social_relief: int = Field(default=0, sa_column=_count())
    resolved_social_relief: int = Field(default=0, sa_column=_count())
    visits_public_service: int = Field(default=0, sa_column=_count())
    raised_public_service: int = Field(default=0, sa_column=_count())
    resolved_public_service: int = Field(default=0, sa_column=_count())


class WeekTally(SQLModel, table=True):
    """The visits of each grid on each day of an ISO week, from Monday (1) to Sunday (7).

    `prompt`: those of them that were written on their own day. One row a week, for the loop asks
    for days by the thousand.
    """

    __tablename__ = "week_tally"

    week: str = Field(sa_column=_key())
    grid: str = Field(sa_column=_key())
    visits_1: int = Field(default=0, sa_column=_count())
    visits_2: int = Field(default=0, sa_column=_count())
    visits_3: int = Field(default=0, sa_column=_count())
    visits_4: int = Field(default=0, sa_column=_count())
    visits_5: int = Field(default=0, sa_column=_count())
    visits_6: int = Field(default=0, sa_column=_count())
    visits_7: int = Field(default=0, sa_column=_count())
    prompt_1: int = Field(default=0, sa_column=_count())
    prompt_2: int = Field(default=0, sa_column=_count())
    prompt_3: int = Field(default=0, sa_column=_count())
    prompt_4: int = Field(default=0, sa_column=_count())
    prompt_5: int = Field(default=0, sa_column=_count())
    prompt_6: int = Field(default=0, sa_column=_count())
    prompt_7: int = Field(default=0, sa_column=_count())


class VillageWeekTally(SQLModel, table=True):
    """How many grids of each village were visited on each day of an ISO week, from Monday (1) to
    Sunday (7); `prompt`: with a visit that was written on its own day.

    It follows from `week_tally`, and changes with the first visit of a day to a grid.
    """

    __tablename__ = "village_week_tally"

    week: str = Field(sa_column=_key())
    village: str = Field(sa_column=_key())
    visited_1: int = Field(default=0, sa_column=_count())
    visited_2: int = Field(default=0, sa_column=_count())
    visited_3: int = Field(default=0, sa_column=_count())
    visited_4: int = Field(default=0, sa_column=_count())
    visited_5: int = Field(default=0, sa_column=_count())
    visited_6: int = Field(default=0, sa_column=_count())
    visited_7: int = Field(default=0, sa_column=_count())
    prompt_1: int = Field(default=0, sa_column=_count())
    prompt_2: int = Field(default=0, sa_column=_count())
    prompt_3: int = Field(default=0, sa_column=_count())
    prompt_4: int = Field(default=0, sa_column=_count())
    prompt_5: int = Field(default=0, sa_column=_count())
    prompt_6: int = Field(default=0, sa_column=_count())
    prompt_7: int = Field(default=0, sa_column=_count())


class CaseTally(SQLModel, table=True):
    """How many problems of each village and severity turned in each span: `every` is the kind of
    span, or empty for all time.

    `raised` and `closed` (resolved): what was open at the end of a span is all that was ever raised
    less all closed, taken back by what turned in later spans. `lapsed`: passed its limit while
    open; `cleared`: closed after that; they give what was overdue in the same way. `done`: those
    raised in the span that are closed by now.
    """

    __tablename__ = "case_tally"

    every: str = Field(sa_column=_key())
    span: str = Field(sa_column=_key())
    village: str = Field(sa_column=_key())
    severity: str = Field(sa_column=_key())
    raised: int = Field(default=0, sa_column=_count())
    closed: int = Field(default=0, sa_column=_count())
    lapsed: int = Field(default=0, sa_column=_count())
    cleared: int = Field(default=0, sa_column=_count())
    done: int = Field(default=0, sa_column=_count())


class HoursTally(SQLModel, table=True):
    """How many problems of each village were resolved in each span, by how long that took: a `band`
    of hours, see `bands`. It says in which band a median lies.
    """

    __tablename__ = "hours_tally"

    span: str = Field(sa_column=_key())
    village: str = Field(sa_column=_key())
    band: int = Field(sa_column=Column(Integer, primary_key=True))
    problems: int = Field(default=0, sa_column=_count())


class CadreTally(SQLModel, table=True):
    """What each cadre did in each village in each week, month and quarter: the sums of `tally`, so
    that a year is four rows and not 250.
    """

    __table_args__ = (Index("cadre_tally_cadre", "cadre", "span"),)
    __tablename__ = "cadre_tally"

    span: str = Field(sa_column=_key())
    village: str = Field(sa_column=_key())
    cadre: str = Field(sa_column=_key())
    visits: int = Field(default=0, sa_column=_count())
    raised: int = Field(default=0, sa_column=_count())
    resolved: int = Field(default=0, sa_column=_count())


class VisitedHousehold(SQLModel, table=True):
    """That a household was visited in a week or a month, in the grid of the visits; one that was
    visited once more changes no tally of households. Longer spans follow from the months.
    """

    __tablename__ = "visited_household"

    household: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    span: str = Field(sa_column=_key())
    grid: str = Field(sa_column=_key())


class HouseholdTally(SQLModel, table=True):
    """How many households a grid has, and how many of them are contact households; `since`: the
    day on which the grid got its first, None: before that was kept.
    """

    __tablename__ = "household_tally"

    grid: str = Field(sa_column=_key())
    households: int = Field(default=0, sa_column=_count())
    contacts: int = Field(default=0, sa_column=_count())
    since: date | None = Field(default=None, sa_column=Column(Date))


class ContactChange(SQLModel, table=True):
    """That a household became a contact household on a day (1), or is none any more (-1): whether
    it was one before is what it is less the changes since. One that is made changes nothing.
    """

    __tablename__ = "contact_change"

    household: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    day: date = Field(sa_column=Column(Date, primary_key=True))
    change: int = Field(default=0, sa_column=_count())


class HouseholdChange(SQLModel, table=True):
    """By how much the numbers of `household_tally` changed on a day: what they were before is what
    they are less the changes since.

    What came to a grid on its first day is none: those households were there before anybody kept
    count.
    """

    __tablename__ = "household_change"

    day: date = Field(sa_column=Column(Date, primary_key=True))
    grid: str = Field(sa_column=_key())
    households: int = Field(default=0, sa_column=_count())
    contacts: int = Field(default=0, sa_column=_count())


class Seal(SQLModel, table=True):
    """A week or month that was sealed for a unit: the summary as it was then. Unsealing keeps the
    row and says who and when.
    """

    __table_args__ = (
        Index("seal_in_force", "unit", "span", unique=True, postgresql_where="NOT lifted"),
        Index("seal_span", "span", postgresql_where="NOT lifted"),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    unit: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    span: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    summary: Any = Field(sa_column=Column(JSONB, nullable=False))
    sealed_by: str = Field(sa_column=Column(Text, nullable=False))
    sealed_at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    lifted: bool = Field(default=False, sa_column=Column(Boolean, nullable=False))
    lifted_by: str | None = Field(default=None, sa_column=Column(Text))
    lifted_at: datetime | None = Field(default=None, sa_column=Column(DateTime(timezone=True)))
    lifted_why: str | None = Field(default=None, sa_column=Column(Text))


class SealedGrid(SQLModel, table=True):
    """What a seal keeps of each grid: the numbers that were shown of it, its loop, and what each
    cadre did there. Units above and below a sealed one are put together from these.

    A grid that an earlier seal of the period keeps is kept as that one has it, so all seals in
    force keep the same.
    """

    __tablename__ = "sealed_grid"

    seal: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    grid: str = Field(sa_column=_key())
    kept: Any = Field(sa_column=Column(JSONB, nullable=False))
