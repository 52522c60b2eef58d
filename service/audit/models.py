"""The table of the trail."""

from datetime import datetime
from uuid import UUID as Uuid

from sqlalchemy import Column, DateTime, Index, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY, UUID
from sqlmodel import Field, SQLModel


class AuditEntry(SQLModel, table=True):
    """One read of personal data, export, sign-in, decision, or act on an account.

    Rows are added and, after their time, purged; a trigger refuses the rest.

    `subjects`: units, staff codes, ids of records and phones, how somebody signed in; never what
    was read. `count`: how many records were shown, or sign-ins failed. `units`: for which units who
    did it acted; nobody else's administrators and auditors see it. Without any it is seen from the
    top only.
    """

    __tablename__ = "audit"
    __table_args__ = (Index("audit_when", "at", "id"),)

    id: Uuid = Field(sa_column=Column(UUID, primary_key=True))
    at: datetime = Field(sa_column=Column(DateTime(timezone=True), nullable=False))
    staff_code: str = Field(sa_column=Column(Text(collation="C"), nullable=False, index=True))
    action: str = Field(sa_column=Column(Text, nullable=False))
    subjects: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False))
    count: int = Field(sa_column=Column(Integer, nullable=False))
    address: str = Field(sa_column=Column(Text, nullable=False))
    request_id: str = Field(sa_column=Column(Text, nullable=False))
    units: list[str] = Field(sa_column=Column(ARRAY(Text), nullable=False, server_default="{}"))
