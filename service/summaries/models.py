"""The tally: what each cadre did in each grid on each day, kept in the transaction of the records themselves."""

from datetime import date

from sqlalchemy import Column, Date, Integer, Text
from sqlmodel import Field, SQLModel


class Tally(SQLModel, table=True):
    """Counts of a day (Asia/Shanghai), grid, cadre and duty; the duty `` (empty) carries the whole, in which a visit counts once."""

    day: date = Field(sa_column=Column(Date, primary_key=True))
    grid: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    cadre: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    duty: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    visits: int = Field(default=0, sa_column=Column(Integer, nullable=False))
    raised: int = Field(default=0, sa_column=Column(Integer, nullable=False))
    resolved: int = Field(default=0, sa_column=Column(Integer, nullable=False))
