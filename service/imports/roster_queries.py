"""The SQL that writes units, people and posts of an import, and takes them back."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from service.identity import memberships
from service.identity.memberships import Membership
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
    connection: Connection, cipher: FieldCipher, changes: Sequence[Change], today: date
) -> None:
    """Makes new people, and changes others, also the spans of their party membership."""
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
    for change in changes:
        spans = change.after.get("membership")
        if spans:
            found = [Membership(_day(first), _day(end)) for first, end in spans]
            await memberships.set_memberships(connection, change.key, found, today)
        elif spans is not None:
            is_member = change.after.get("party_member", change.before.get("party_member", False))
            await memberships.set_member(connection, change.key, is_member)


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


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


async def units_in_use(connection: Connection, codes: Collection[str]) -> dict[str, str]:
    """By what those of units are used that are: `unit` (another lies under it), `post`, `record`,
    `app` or `calendar`.
    """
    rows = await connection.fetch(
        """
        SELECT w.code, CASE
            WHEN EXISTS (SELECT FROM unit c WHERE c.parent = w.code) THEN 'unit'
            WHEN EXISTS (SELECT FROM post p WHERE p.unit = w.code) THEN 'post'
            WHEN EXISTS (SELECT FROM household h WHERE h.grid = w.code AND NOT h.deleted)
                OR EXISTS (SELECT FROM visit v WHERE v.grid = w.code)
                OR EXISTS (SELECT FROM problem p WHERE p.grid = w.code)
                OR EXISTS (SELECT FROM weekly_analysis a WHERE a.grid = w.code)
                OR EXISTS (SELECT FROM monthly_summary m WHERE m.grid = w.code) THEN 'record'
            WHEN EXISTS (SELECT FROM app_client a WHERE a.unit = w.code) THEN 'app'
            WHEN EXISTS (SELECT FROM calendar_year y WHERE y.unit = w.code) THEN 'calendar'
            END AS used
        FROM unnest($1::text[]) AS w(code)
        """,
        list(codes),
    )
    return {row["code"]: row["used"] for row in rows if row["used"] is not None}


async def drop_units(connection: Connection, codes: Collection[str]) -> None:
    """Takes units away under which there is nothing. Their counters stay: a revision is never given
    twice.
    """
    await connection.execute("DELETE FROM unit WHERE code = ANY($1::text[])", list(codes))


async def people_in_use(connection: Connection, codes: Collection[str]) -> dict[str, str]:
    """By what those of people are used that are: `erased`, `post`, `sign-in` (a password, a phone,
    a sign-in or an act of theirs), `household` (one names them) or `recorded` (another staff code,
    or days of party membership).
    """
    rows = await connection.fetch(
        """
        SELECT c.staff_code, CASE
            WHEN EXISTS (SELECT FROM erasure e WHERE e.kind = 'cadre' AND e.subject = c.staff_code)
                THEN 'erased'
            WHEN EXISTS (SELECT FROM post p WHERE p.staff_code = c.staff_code) THEN 'post'
            WHEN c.password IS NOT NULL
                OR EXISTS (SELECT FROM device d WHERE d.staff_code = c.staff_code)
                OR EXISTS (SELECT FROM refresh_token r WHERE r.staff_code = c.staff_code)
                OR EXISTS (SELECT FROM audit a WHERE a.staff_code = c.staff_code) THEN 'sign-in'
            WHEN EXISTS (SELECT FROM household h WHERE NOT h.deleted
                AND c.staff_code IN (h.contact_member, h.lead_member)) THEN 'household'
            WHEN EXISTS (SELECT FROM staff_code_alias a WHERE a.staff_code = c.staff_code)
                THEN 'recorded'
            END AS used
        FROM cadre c WHERE c.staff_code = ANY($1::text[])
        """,
        list(codes),
    )
    return {row["staff_code"]: row["used"] for row in rows if row["used"] is not None}


async def drop_people(connection: Connection, codes: Collection[str]) -> None:
    """Takes people away who have done nothing yet."""
    await connection.execute(
        "DELETE FROM one_time_code WHERE staff_code = ANY($1::text[])", list(codes)
    )
    await connection.execute(
        "DELETE FROM party_membership WHERE staff_code = ANY($1::text[])", list(codes)
    )
    await connection.execute("DELETE FROM cadre WHERE staff_code = ANY($1::text[])", list(codes))


async def holders(connection: Connection, ids: Collection[str]) -> list[Row]:
    """Whose posts these are, and in which roles."""
    return await connection.fetch(
        "SELECT staff_code, role FROM post WHERE id = ANY($1::uuid[]) ORDER BY staff_code",
        list(ids),
    )


async def named_posts(connection: Connection, ids: Collection[str]) -> dict[str, Row]:
    """Posts by id: whose, with the staff code of today, which role and where."""
    rows = await connection.fetch(
        "SELECT p.id::text, coalesce(c.shown_code, p.staff_code) AS staff_code, p.role, p.unit"
        " FROM post p LEFT JOIN cadre c USING (staff_code) WHERE p.id = ANY($1::uuid[])",
        list(ids),
    )
    return {row["id"]: row for row in rows}


async def lock_posts(connection: Connection, ids: Collection[str], id: str) -> dict[str, Row]:
    """Posts as they are now, locked; and whether the person has used each since the import `id`
    began and the post was held.

    Whoever has signed in, synced or written counts as using it, and so does a person whom the same
    import has made and who has a password. Reads and decisions leave a line in the trail.
    """
    rows = await connection.fetch(
        """
        SELECT p.id::text, p.staff_code, p.role, p.valid_from, p.valid_to, p.title,
            EXISTS (SELECT FROM device d WHERE d.staff_code = p.staff_code
                AND greatest(d.created_at, d.last_seen) >= s.since)
            OR EXISTS (SELECT FROM refresh_token r WHERE r.staff_code = p.staff_code
                AND greatest(r.family_since, r.first_used_at, r.used_at) >= s.since)
            OR EXISTS (SELECT FROM audit a WHERE a.staff_code = p.staff_code AND a.at >= s.since)
            OR EXISTS (SELECT FROM cadre c JOIN import_effect e ON e.import = $2
                AND e.kind = 'person' AND e.key = c.staff_code AND e.what = 'new'
                WHERE c.staff_code = p.staff_code AND c.password IS NOT NULL) AS used
        FROM post p CROSS JOIN LATERAL (SELECT greatest(p.valid_from,
            (SELECT coalesce(i.begun_at, i.at) FROM roster_import i WHERE i.id = $2)) AS since) AS s
        WHERE p.id = ANY($1::uuid[]) ORDER BY p.id FOR UPDATE OF p
        """,
        list(ids),
        id,
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
