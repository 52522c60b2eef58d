"""The SQL that writes units, people and posts of an import, and takes them back."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from service.imports.sheet_check import Change
from service.imports.units import Unit, unit_of
from service.kit.database import Connection, Row
from service.kit.encrypted_values import encrypted_phone
from service.kit.field_cipher import FieldCipher
from sync_protocol.ids import NAMESPACE


async def write_units(connection: Connection, changes: Sequence[Change]) -> None:
    """Makes new units, and changes others; a grid gets its counter."""
    new = [change.after for change in changes if change.what == "new"]
    if new:
        columns = zip(*([row[name] for name in Unit._fields] for row in new), strict=True)
        await connection.execute(
            """
            INSERT INTO unit (code, level, parent, name, name_mn, kind, party_group, go_live)
            SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[],
                $6::text[], $7::text[], $8::text[]::date[])
            """,
            *map(list, columns),
        )
        await connection.execute(
            "INSERT INTO counter (grid, rev) SELECT code, 0 FROM unit WHERE level = 'grid'"
            " AND code = ANY($1::text[]) ON CONFLICT (grid) DO NOTHING",
            [row["code"] for row in new],
        )
    changed = [
        (change.key, *({**change.before, **change.after}[name] for name in _UNIT_VALUES))
        for change in changes
        if change.what == "changed"
    ]
    if changed:
        await connection.executemany(
            "UPDATE unit SET name = $2, name_mn = $3, kind = $4, party_group = $5,"
            " go_live = $6::text::date WHERE code = $1",
            changed,
        )


_UNIT_VALUES = ("name", "name_mn", "kind", "party_group", "go_live")


async def write_levels(connection: Connection, levels: Sequence[Mapping[str, Any]]) -> None:
    """Puts levels, from the topmost down, in the place of those that are there."""
    await connection.execute("DELETE FROM level")
    await connection.executemany(
        "INSERT INTO level (slug, position, name_zh, name_en, sees_tags)"
        " VALUES ($1, $2, $3, $4, $5)",
        [
            (one["slug"], place, one["name_zh"], one["name_en"], one["sees_tags"])
            for place, one in enumerate(levels, 1)
        ],
    )


async def levels(connection: Connection) -> list[dict[str, Any]]:
    """The levels from the topmost down, as they are written."""
    rows = await connection.fetch(
        "SELECT slug, name_zh, name_en, sees_tags FROM level ORDER BY position"
    )
    return [dict(row) for row in rows]


async def has_units(connection: Connection) -> bool:
    """Whether there is any unit."""
    return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM unit)"))


async def write_people(
    connection: Connection, cipher: FieldCipher, changes: Sequence[Change]
) -> None:
    """Makes new people, and changes others."""
    rows = [(change.key, {**change.before, **change.after}) for change in changes]
    await connection.execute(
        """
        INSERT INTO cadre (staff_code, name, phone, party_member, demo)
        SELECT c.*, false FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[]) AS c
        ON CONFLICT (staff_code) DO UPDATE SET name = excluded.name, phone = excluded.phone,
            party_member = excluded.party_member
        """,
        [code for code, _ in rows],
        [values["name"] for _, values in rows],
        [encrypted_phone(cipher, code, values["phone"]) for code, values in rows],
        [values["party_member"] for _, values in rows],
    )


async def write_posts(
    connection: Connection,
    new: Sequence[tuple[Any, ...]],
    ended: Sequence[tuple[Any, ...]],
    now: datetime,
) -> None:
    """Gives new posts (id, staff code, role, unit, from, to, title), and others another end or
    title (id, to, title).
    """
    if new:
        await connection.execute(
            """
            INSERT INTO post
                (id, staff_code, role, unit, valid_from, valid_to, title, end_recorded_at)
            SELECT p.*, CASE WHEN p.valid_to IS NOT NULL THEN $8::timestamptz END FROM
                unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[],
                $6::timestamptz[], $7::text[])
                AS p(id, staff_code, role, unit, valid_from, valid_to, title)
            ON CONFLICT (id) DO UPDATE SET valid_to = excluded.valid_to, title = excluded.title,
                end_recorded_at = excluded.end_recorded_at
            """,
            *map(list, zip(*new, strict=True)),
            now,
        )
    if ended:
        await connection.executemany(
            "UPDATE post SET valid_to = $2, title = $4, end_recorded_at = CASE"
            " WHEN valid_to IS NOT DISTINCT FROM $2::timestamptz THEN end_recorded_at"
            " WHEN $2::timestamptz IS NULL THEN NULL ELSE $3::timestamptz END WHERE id = $1",
            [(id, end, now, title) for id, end, title in ended],
        )


async def lock_units(connection: Connection, codes: Collection[str]) -> dict[str, Unit]:
    """Units as they are now, locked."""
    rows = await connection.fetch(
        "SELECT code, level, parent, name, name_mn, kind, party_group, go_live FROM unit"
        " WHERE code = ANY($1::text[]) ORDER BY code FOR UPDATE",
        list(codes),
    )
    return {row["code"]: unit_of(row) for row in rows}


async def units_in_use(connection: Connection, codes: Collection[str]) -> set[str]:
    """Those of units under which another lies, where somebody has a post, or records are."""
    rows = await connection.fetch(
        """
        SELECT w.code FROM unnest($1::text[]) AS w(code)
        WHERE EXISTS (SELECT FROM unit c WHERE c.parent = w.code)
            OR EXISTS (SELECT FROM post p WHERE p.unit = w.code)
            OR EXISTS (SELECT FROM household h WHERE h.grid = w.code AND NOT h.deleted)
            OR EXISTS (SELECT FROM visit v WHERE v.grid = w.code)
            OR EXISTS (SELECT FROM problem p WHERE p.grid = w.code)
            OR EXISTS (SELECT FROM weekly_analysis a WHERE a.grid = w.code)
            OR EXISTS (SELECT FROM monthly_summary m WHERE m.grid = w.code)
            OR EXISTS (SELECT FROM app_client a WHERE a.unit = w.code)
        """,
        list(codes),
    )
    return {row["code"] for row in rows}


async def drop_units(connection: Connection, codes: Collection[str]) -> None:
    """Takes units away under which there is nothing. Their counters stay: a revision is never given
    twice.
    """
    await connection.execute("DELETE FROM unit WHERE code = ANY($1::text[])", list(codes))


async def people_in_use(connection: Connection, codes: Collection[str]) -> set[str]:
    """Those of people who have a post or a password, have signed in or written something, or whom a
    household names.
    """
    rows = await connection.fetch(
        """
        SELECT w.code FROM unnest($1::text[]) AS w(code) JOIN cadre c ON c.staff_code = w.code
        WHERE c.password IS NOT NULL
            OR EXISTS (SELECT FROM post p WHERE p.staff_code = w.code)
            OR EXISTS (SELECT FROM device d WHERE d.staff_code = w.code)
            OR EXISTS (SELECT FROM household h WHERE NOT h.deleted
                AND w.code IN (h.contact_member, h.lead_member))
            OR EXISTS (SELECT FROM erasure e WHERE e.kind = 'cadre' AND e.subject = w.code)
        """,
        list(codes),
    )
    return {row["code"] for row in rows}


async def drop_people(connection: Connection, codes: Collection[str]) -> None:
    """Takes people away who have done nothing yet."""
    await connection.execute(
        "DELETE FROM one_time_code WHERE staff_code = ANY($1::text[])", list(codes)
    )
    await connection.execute("DELETE FROM cadre WHERE staff_code = ANY($1::text[])", list(codes))


async def lock_posts(connection: Connection, ids: Collection[str]) -> dict[str, Row]:
    """Posts as they are now, locked; and whether the person has written since the post began."""
    rows = await connection.fetch(
        "SELECT id::text, staff_code, role, valid_from, valid_to, title,"
        " EXISTS (SELECT FROM device d WHERE d.staff_code = p.staff_code AND d.acked_seq > 0"
        " AND d.last_seen >= p.valid_from) AS used"
        " FROM post p WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE",
        list(ids),
    )
    return {row["id"]: row for row in rows}


async def drop_posts(connection: Connection, ids: Collection[str]) -> None:
    """Takes posts away that nobody has used."""
    await connection.execute("DELETE FROM post WHERE id = ANY($1::uuid[])", list(ids))


async def households_in_use(connection: Connection, ids: Collection[str]) -> set[str]:
    """Those of households that a visit or a problem is about."""
    rows = await connection.fetch(
        "SELECT w.id::text FROM unnest($1::uuid[]) AS w(id) WHERE EXISTS (SELECT FROM visit v WHERE"
        " v.household_id = w.id AND NOT v.deleted) OR EXISTS (SELECT FROM problem p WHERE"
        " p.household_id = w.id AND NOT p.deleted)",
        list(ids),
    )
    return {row["id"] for row in rows}


def post_id(key: str) -> str:
    """The id of a post by what it is made of, see `checking.post_key`; an id as it is."""
    return str(uuid.uuid5(NAMESPACE, key)) if key.startswith("post:") else key
