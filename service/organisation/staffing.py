"""What should be known of the people of units after something has changed: nothing is refused for
it, for there may be reasons.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import BaseModel, Field

from service.identity import post_queries
from service.kit.database import Connection, Row
from service.kit.localization import FOR_PROGRAMS, localized
from sync_protocol.texts import Text


class PostWarning(BaseModel):
    """Something to know of what was done; nothing was refused for it."""

    code: str = Field(
        description="`grid-without-worker`, `village-without-secretary`,"
        " `village-with-several-secretaries`, `posts-at-closed-unit`, `unusual-level`, `no-term`,"
        " `no-party-member`, `without-post`, `in-hand` or `not-shown`",
        examples=["grid-without-worker"],
    )
    unit: str | None = None
    text: str


def warning(code: str, unit: str | None, text: Text) -> PostWarning:
    """A warning in the language of the request."""
    return PostWarning(code=code, unit=unit, text=localized(text, FOR_PROGRAMS))


async def warnings_of_units(
    connection: Connection, units: Sequence[str], moments: Iterable[datetime]
) -> list[PostWarning]:
    """How the posts of these units leave them staffed, at the moments when something changes."""
    found: dict[tuple[str, str], PostWarning] = {}
    for moment in sorted({*moments}):
        for row in await post_queries.staffing(connection, units, moment):
            for one in _of_staffing(row):
                found.setdefault((one.code, row["code"]), one)
    return list(found.values())


def _of_staffing(row: Row) -> Iterable[PostWarning]:
    level, code, name = row["level"], row["code"], row["name"]
    if row["closed"]:
        if row["posts"]:
            text = Text(
                "{unit} is closed then, and {posts} posts there go on; end or transfer them.",
                unit=name,
                posts=row["posts"],
            )
            yield warning("posts-at-closed-unit", code, text)
        return
    if level == "grid" and not row["workers"]:
        text = Text("{unit} has no grid worker then, and nobody makes its daily visits.", unit=name)
        yield warning("grid-without-worker", code, text)
    if level == "village" and not row["secretaries"]:
        text = Text("{unit} has no village secretary then.", unit=name)
        yield warning("village-without-secretary", code, text)
    if level == "village" and row["secretaries"] > 1:
        text = Text("{unit} has more than one village secretary then; one is usual.", unit=name)
        yield warning("village-with-several-secretaries", code, text)
