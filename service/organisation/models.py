"""The tables of units."""

from sqlalchemy import Column, Text
from sqlmodel import Field, SQLModel


class Unit(SQLModel, table=True):
    """A unit of the tree city, banner, township, village, grid; its code begins with its
    parent's.
    """

    code: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    level: str = Field(sa_type=Text)
    parent: str | None = Field(default=None, sa_column=Column(Text(collation="C"), index=True))
    name: str = Field(sa_type=Text)
    name_mn: str | None = Field(default=None, sa_type=Text)
    kind: str = Field(default="", sa_type=Text)
    party_group: str = Field(default="none", sa_type=Text)
