"""The table of articles."""

from datetime import date, datetime
from uuid import UUID as Uuid

from sqlalchemy import BigInteger, Column, Date, DateTime, Index, Text
from sqlalchemy.dialects.postgresql import UUID
from sqlmodel import Field, SQLModel

_CODE = Text(collation="C")
_MOMENT = DateTime(timezone=True)


class Article(SQLModel, table=True):
    """An article for a unit and all below. `mailbox` is its feed, `rev` its place there; a draft
    has none yet (0).
    """

    __table_args__ = (
        Index("article_feed", "mailbox", "rev"),
        Index("article_newest", "updated_at", "id"),
    )

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    unit: str = Field(sa_column=Column(_CODE, nullable=False, index=True))
    mailbox: str = Field(sa_column=Column(_CODE, nullable=False))
    rev: int = Field(default=0, sa_column=Column(BigInteger, nullable=False))
    kind: str = Field(sa_column=Column(Text, nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    body: str = Field(sa_column=Column(Text, nullable=False))
    state: str = Field(sa_column=Column(Text, nullable=False))
    author: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    updated_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
    published_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))
    withdrawn_at: datetime | None = Field(default=None, sa_column=Column(_MOMENT))


class ArticleReadCount(SQLModel, table=True):
    """How often an article was read in a unit on a day, from phones or an app. By whom is not
    kept.
    """

    __tablename__ = "article_read"

    article: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    unit: str = Field(sa_column=Column(_CODE, primary_key=True))
    day: date = Field(sa_column=Column(Date, primary_key=True))
    source: str = Field(sa_column=Column(Text, primary_key=True))
    reads: int = Field(sa_column=Column(BigInteger, nullable=False))


class Receipt(SQLModel, table=True):
    """The number under which the app asks how a herder's request stands, and the problem that the
    request became.
    """

    __table_args__ = (Index("receipt_client", "client", "created_at", "problem"),)

    number: str = Field(sa_column=Column(Text, primary_key=True))
    problem: Uuid = Field(sa_column=Column(UUID, nullable=False, unique=True))
    client: str = Field(sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(sa_column=Column(_MOMENT, nullable=False))
