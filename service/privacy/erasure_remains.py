"""What an erasure cannot reach, and until when: named in its answer, so that nobody believes more
than is true."""

from datetime import datetime

import msgspec

from service.kit.database import Connection
from service.kit.settings import Settings
from service.privacy import erasure_queries as sql
from sync_protocol.texts import Text


class Remains(msgspec.Struct):
    """Something that still holds erased data: where, what of it, and until when."""

    where: str
    what: str
    until: str


_KEPT_UNKNOWN = Text(
    "not told to this server; set GRIDLOOP_BACKUPS_KEPT, and ask who makes the backups"
)


def _everywhere(settings: Settings) -> list[Remains]:
    kept = settings.backups_kept or _KEPT_UNKNOWN
    return [
        Remains(
            Text("backups and WAL archives"), Text("everything, as it was before the erasure"), kept
        ),
        Remains(
            Text("after a restore from such a backup"),
            Text("everything again"),
            Text("the erasure is run again right after the restore"),
        ),
        Remains(
            Text("files of PostgreSQL, and of its standbys"),
            Text("old versions of the rows"),
            Text("the next VACUUM of the tables, by itself within days"),
        ),
        Remains(
            Text("ledgers and exports that were downloaded"),
            Text("what was in scope at the time"),
            Text("whoever holds them deletes them"),
        ),
    ]


async def remains_of_household(
    connection: Connection, settings: Settings, household: str, now: datetime
) -> list[Remains]:
    """What still holds something of a household."""
    grid = await sql.grid_of_household(connection, household)
    phones = 0 if grid is None else await sql.phones_of(connection, grid, now)
    return [
        Remains(
            Text(
                "phones, {count} in use by cadres of grid {grid} and above",
                count=phones,
                grid=grid or "",
            ),
            Text("their copies of the records"),
            Text("each one's next sync"),
        ),
        Remains(
            Text("the phone on which a mutation was written"),
            Text("its own mutations"),
            Text("30 days after it sent them"),
        ),
        Remains(
            Text("phones that never sync again"),
            Text("copies and what was not sent"),
            Text("they are revoked, wiped or found"),
        ),
        Remains(
            Text("texts of other records"),
            Text("a name that somebody wrote there"),
            Text("somebody corrects them; they cannot be found by an id"),
        ),
        *_everywhere(settings),
    ]


def remains_of_cadre(settings: Settings) -> list[Remains]:
    """What still holds something of a cadre."""
    days = settings.audit_days
    return [
        Remains(
            Text("records, history and tallies"),
            Text("the staff code as a pseudonym, which the counts need"),
            Text("they are kept"),
        ),
        Remains(
            Text("the trail"),
            Text("the staff code and the addresses of sign-ins"),
            Text("{days} days after each line, by gridloop purge", days=days),
        ),
        Remains(
            Text("the cadre's own phones"),
            Text("copies and what was not sent"),
            Text("they are taken back or wiped; they get no data any more"),
        ),
        Remains(
            Text("texts of records"),
            Text("a name that somebody wrote there"),
            Text("somebody corrects them; they cannot be found by a staff code"),
        ),
        *_everywhere(settings),
    ]
