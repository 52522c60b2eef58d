"""The table of erasures."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

_MOMENT = DateTime(timezone=True)


class Erasure(SQLModel, table=True):
    """That the personal data of a household or a cadre was erased: by whom and why, how far it has
    come, and what went.

    `removed`: what has gone -> how many; `done`: the steps that are finished. One without
    `completed_at` is resumed.
    """

    kind: str = Field(sa_column=Column(Text, primary_key=True))
    subject: str = Field(sa_column=Column(Text(collation="C"), primary_key=True))
    reason: str = Field(sa_column=Column(Text, nullable=False))
    asked_by: str = Field(sa_column=Column(Text, nullable=False))
    begun_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    completed_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    done: Any = Field(sa_column=Column(JSONB, nullable=False))
    removed: Any = Field(sa_column=Column(JSONB, nullable=False))
