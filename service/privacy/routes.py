"""A person's data, to be handed to the person: `GET /v1/households/{id}/export`, `GET
/v1/cadres/{staff_code}/export`.
"""

import json
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from service.audit.audit_log import note
from service.history import queries as history_queries
from service.history.routes import HistoryEntry, change
from service.identity import memberships, staff_codes
from service.identity import queries as identity_queries
from service.identity.access import Signed
from service.identity.people import StaffCode
from service.identity.rights import ADMINISTERS
from service.identity.views import redact
from service.kit.encrypted_values import cadre_phone, whole_record
from service.kit.encryption_queries import cipher_of
from service.kit.errors import NOT_FOUND, READING, Problem, documented
from service.kit.paging import Id
from service.kit.state import state_of
from service.privacy import queries
from service.writes.log_queries import read_bodies
from sync_protocol.records import KINDS
from sync_protocol.texts import Text

router = APIRouter(prefix="/v1", tags=["privacy"])
_MOST = 10_000


class RecordOut(BaseModel):
    """A record with everything that is kept of it."""

    id: str
    grid: str
    created_by: str
    received_at: datetime
    fields: dict[str, Any]


class HouseholdExport(BaseModel):
    """Everything that is kept of a household: the record, its visits and problems, and who changed
    the record.
    """

    exported_at: datetime
    household: RecordOut
    visits: list[RecordOut]
    problems: list[RecordOut]
    history: list[HistoryEntry]


class CadreExport(BaseModel):
    """Everything that is kept of a cadre, but for the password."""

    exported_at: datetime
    cadre: dict[str, Any]
    posts: list[dict[str, Any]]
    devices: list[dict[str, Any]]
    sign_ins: list[dict[str, Any]]
    written: list[dict[str, Any]]


@router.get(
    "/households/{id}/export",
    summary="What is kept of a household",
    operation_id="export_household",
    responses=documented(*READING),
)
async def household(request: Request, caller: Signed, id: Id) -> HouseholdExport:
    """For the people themselves, who may ask what is kept of them; noted in the trail. Who only
    supervises gets what the table of views shows: the whole is handed out by those who work in the
    village.
    """
    state = state_of(request)
    async with state.database.transaction() as connection:
        row = await queries.household_record(connection, id)
        if row is None or not caller.reaches(row["grid"]):
            raise Problem(NOT_FOUND, Text("There is no household {id} in your scope.", id=id))
        visits = await queries.records_about(connection, "visit", id, _MOST)
        problems = await queries.records_about(connection, "problem", id, _MOST)
        log = await history_queries.mutations(connection, "household", id, None, _MOST, whole=True)
        cipher = await cipher_of(connection, state.settings)
        bodies = await read_bodies(connection, cipher, log)
        await note(
            connection, request, caller, "household-exported", [id], 1 + len(visits) + len(problems)
        )

    view = caller.shown_of(row["grid"])

    def shown(kind: str, item: Any) -> RecordOut:
        fields = json.loads(
            whole_record(
                cipher, KINDS[kind], item["id"], item["fields"], item["personal"], item["extra"]
            )
        )
        fields = redact(kind, fields, view)
        return RecordOut(
            **{name: item[name] for name in ("id", "grid", "created_by", "received_at")},
            fields=fields,
        )

    return HouseholdExport(
        exported_at=caller.now,
        household=shown("household", row),
        visits=[shown("visit", item) for item in visits],
        problems=[shown("problem", item) for item in problems],
        history=[
            change(item, body, "household", cipher, view)
            for item, body in zip(log, bodies, strict=True)
        ],
    )


@router.get(
    "/cadres/{staff_code}/export",
    summary="What is kept of a cadre",
    operation_id="export_cadre",
    responses=documented(*READING),
)
async def cadre(request: Request, caller: Signed, staff_code: StaffCode) -> CadreExport:
    """One's own, or, for an administrator, that of a cadre in scope."""
    state = state_of(request)
    async with state.database.transaction() as connection:
        own = staff_code == caller.staff_code
        units = caller.units_or_none() if caller.holds(ADMINISTERS) else []
        row = await queries.cadre_record(connection, staff_code)
        if row is None or not (
            own
            or await identity_queries.is_cadre_in(
                connection, staff_code, caller.ranges(units), caller.now
            )
        ):
            raise Problem(
                NOT_FOUND, Text("There is no cadre ‘{cadre}’ in your scope.", cadre=staff_code)
            )
        posts, devices, sessions = await queries.posts_and_devices(connection, staff_code)
        written = await queries.written_by(connection, staff_code)
        codes = await staff_codes.codes_of(connection, staff_code)
        spans = await memberships.memberships_of(connection, staff_code)
        cipher = await cipher_of(connection, state.settings)
        await note(connection, request, caller, "cadre-exported", [staff_code], 1)
    return CadreExport(
        exported_at=caller.now,
        cadre={
            **dict(row),
            "phone": cadre_phone(cipher, row),
            "staff_codes": codes,
            "party_membership": [span._asdict() for span in spans],
        },
        posts=[dict(item) for item in posts],
        devices=[dict(item) for item in devices],
        sign_ins=[dict(item) for item in sessions],
        written=[dict(item) for item in written],
    )
