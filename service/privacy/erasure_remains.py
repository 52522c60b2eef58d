"""What an erasure cannot reach, and until when: named in its answer, so that nobody believes more
than is true."""

from datetime import datetime

import msgspec

from service.database import Connection
from service.privacy import erasure_queries as sql
from service.settings import Settings


class Remains(msgspec.Struct):
    """Something that still holds erased data: where, what of it, and until when."""

    where: str
    what: str
    until: str


_KEPT_UNKNOWN = "not told to this server; set GRIDLOOP_BACKUPS_KEPT, and ask who makes the backups"


def _everywhere(settings: Settings) -> list[Remains]:
    kept = settings.backups_kept or _KEPT_UNKNOWN
    return [
        Remains("backups and WAL archives", "everything, as it was before the erasure", kept),
        Remains(
            "after a restore from such a backup",
            "everything again",
            "the erasure is run again right after the restore",
        ),
        Remains(
            "files of PostgreSQL, and of its standbys",
            "old versions of the rows",
            "the next VACUUM of the tables, by itself within days",
        ),
        Remains(
            "ledgers and exports that were downloaded",
            "what was in scope at the time",
            "whoever holds them deletes them",
        ),
    ]


async def remains_of_household(connection: Connection, settings: Settings, household: str, now: datetime) -> list[Remains]:
    """What still holds something of a household."""
    grid = await sql.grid_of_household(connection, household)
    phones = 0 if grid is None else await sql.phones_of(connection, grid, now)
    return [
        Remains(
            f"phones, {phones} in use by cadres of grid {grid} and above",
            "their copies of the records",
            "each one's next sync",
        ),
        Remains(
            "the phone on which a mutation was written",
            "its own mutations",
            "30 days after it sent them",
        ),
        Remains(
            "phones that never sync again",
            "copies and what was not sent",
            "they are revoked, wiped or found",
        ),
        Remains(
            "texts of other records",
            "a name that somebody wrote there",
            "somebody corrects them; they cannot be found by an id",
        ),
        *_everywhere(settings),
    ]


def remains_of_cadre(settings: Settings) -> list[Remains]:
    """What still holds something of a cadre."""
    days = settings.audit_days
    return [
        Remains(
            "records, history and tallies",
            "the staff code as a pseudonym, which the counts need",
            "they are kept",
        ),
        Remains(
            "the trail",
            "the staff code and the addresses of sign-ins",
            f"{days} days after each line, by gridloop purge",
        ),
        Remains(
            "the cadre's own phones",
            "copies and what was not sent",
            "they are taken back or wiped; they get no data any more",
        ),
        Remains(
            "texts of records",
            "a name that somebody wrote there",
            "somebody corrects them; they cannot be found by a staff code",
        ),
        *_everywhere(settings),
    ]
