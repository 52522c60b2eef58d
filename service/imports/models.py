"""The tables of imports."""

from datetime import datetime
from uuid import UUID as Uuid

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlmodel import Field, SQLModel

_MOMENT = DateTime(timezone=True)


class RosterImport(SQLModel, table=True):
    """An import: who asked for it, for which units, how far it has come, and what came of it.

    `options`: of `dry_run`, `skip_bad`, `end_missing`. `state`: see `runs.State`. `stage`, `done`,
    `total`: what is being done, and how far. `report`: JSON, see `report.Report`.
    """

    __tablename__ = "roster_import"

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    asked_by: str = Field(sa_column=Column(Text, nullable=False))
    units: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    options: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    stage: str = Field(sa_column=Column(Text, nullable=False))
    done: int = Field(sa_column=Column(BigInteger, nullable=False))
    total: int = Field(sa_column=Column(BigInteger, nullable=False))
    report: str | None = Field(default=None, sa_column=Column(Text))
    begun_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    ended_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))


class RosterImportFile(SQLModel, table=True):
    """A part of a file that is to be imported, encrypted. It goes when the import has ended; where
    nothing was written, some hours later, so that it can be applied.
    """

    __tablename__ = "roster_import_file"

    import_id: Uuid = Field(sa_column=Column("import", UUID, primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    part: int = Field(sa_column=Column(Integer, primary_key=True, autoincrement=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
    body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class ImportEffect(SQLModel, table=True):
    """What an import did to a unit, person, post or household (`kind`, `key`): `new`, `changed` or
    `ended`; a household at a revision of its grid.

    `body`: the values before and after, encrypted JSON. `left_because`: why undoing it was not
    possible, see `undoing`.
    """

    __tablename__ = "import_effect"
    __table_args__ = (Index("import_effect_key", "key"),)

    import_id: Uuid = Field(sa_column=Column("import", UUID, primary_key=True))
    kind: str = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    what: str = Field(sa_column=Column(Text, nullable=False))
    grid: str = Field(sa_column=Column(Text, nullable=False))
    rev: int = Field(sa_column=Column(BigInteger, nullable=False))
    body: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    left_because: str | None = Field(default=None, sa_column=Column(Text))


class ImportKey(SQLModel, table=True):
    """By what a household of a file is known again: see `keys`. `scope`: `#`, or a village."""

    __tablename__ = "import_key"
    __table_args__ = (
        Index("import_key_household", "household"),
        Index("import_key_blind", "scope", "blind", unique=True),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    scope: str = Field(sa_column=Column(Text(collation="C"), nullable=False))
    blind: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    household: Uuid = Field(sa_column=Column(UUID, nullable=False))
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
