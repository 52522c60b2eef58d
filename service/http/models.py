"""The table of answers that are kept for repeated requests."""

from datetime import datetime
from typing import Any

from sqlalchemy import Column, DateTime, Integer, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSON
from sqlmodel import Field, SQLModel


class KeptAnswer(SQLModel, table=True):
    """The answer to a POST with an `Idempotency-Key`; `request` is its digest, `status` is empty
    while it is under way.

    `rights`: the posts (or the app's scopes) that the caller had; who has lost one of them does not
    get the answer again.
    """

    __tablename__ = "idempotency"

    caller: str = Field(sa_column=Column(Text, primary_key=True))
    key: str = Field(sa_column=Column(Text, primary_key=True))
    request: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    status: int | None = Field(default=None, sa_column=Column(Integer))
    headers: Any = Field(default=None, sa_column=Column(JSON))
    body: str | None = Field(default=None, sa_column=Column(Text))
    rights: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text)))
