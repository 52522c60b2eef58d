"""Which households may be the same as another: those with the same head in the village, and those
with the same phone.

Only those that the caller sees are told: a household elsewhere is none of theirs, and that it has
this phone neither. Who sees phones masked only is told of none alike: else a number could be tried
out until it fits.
"""

import re
import unicodedata
from collections.abc import Set
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.households import queries
from service.identity.access import Caller
from service.identity.views import WHOLE_GRID, View, shows_whole
from service.kit.database import Connection
from service.kit.encryption import Place, Undecrypted
from service.kit.field_cipher import FieldCipher
from service.writes import phone_index

_MAX = 20


class Duplicate(BaseModel):
    """A household that may be the same as another. `same`: what both have in common."""

    id: str
    grid: str
    head_name: str | None
    state: str
    same: list[Literal["head", "phone"]] = Field(examples=[["head", "phone"]])


async def duplicates_of(
    connection: Connection, cipher: FieldCipher, caller: Caller, row: Any
) -> list[Duplicate]:
    """The households that may be the same as one, those with more in common first."""
    id, grid = row["id"], row["grid"]
    village = caller.tree.parent(grid, caller.today) or grid
    phone = row["phone"] and cipher.decrypt(Place("household", "phone", id), row["phone"])
    knows = _sees_phone(caller, row["grid"]) and phone and not isinstance(phone, Undecrypted)
    indexes = phone_index.indexes(cipher, str(phone)) if knows else []
    with_phone = await phone_index.households_with(connection, indexes) if indexes else []
    head = folded(row["head_name"])
    found = []
    rows = await queries.alike(connection, caller.subtree(village), with_phone)
    ids = [other["id"] for other in rows]
    tied = await queries.tied_among(connection, ids, caller.staff_code, caller.today)
    for other in rows:
        same: list[Literal["head", "phone"]] = []
        if head and caller.covers(village, other["grid"]) and folded(other["head_name"]) == head:
            same.append("head")
        if other["id"] in with_phone and _sees_phone(caller, other["grid"]):
            same.append("phone")
        if same and other["id"] != id and _is_shown(caller, other, tied):
            values = {name: other[name] for name in ("id", "grid", "head_name", "state")}
            found.append(Duplicate(**values, same=same))
    return sorted(found, key=lambda one: (-len(one.same), one.grid, one.id))[:_MAX]


def _is_shown(caller: Caller, row: Any, tied: Set[str]) -> bool:
    if not caller.reaches(row["grid"]):
        return False
    view = caller.view_of(row["grid"])
    if view is View.TIED:
        return row["id"] in tied
    return view in WHOLE_GRID


def _sees_phone(caller: Caller, grid: str) -> bool:
    view = caller.view_of(grid) if caller.reaches(grid) else None
    return view is not None and shows_whole("household", "phone", view)


def folded(name: str | None) -> str:
    """A name for comparing: without blanks, whatever their width and the case of letters."""
    text = unicodedata.normalize("NFKC", name or "").lower()
    return re.sub(r"[\s·•]", "", text)
