"""The migrations, run by Alembic: `upgrade(url)` brings a database to the newest tables.

What a migration may do, and what it declares of itself, stands in `migrations/README.md`.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from sync_protocol.texts import Text

# Alembic and SQLAlchemy are loaded by what needs them: most commands do not.
if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

# Where a database says which releases may run over its tables: so that one which does not know its
# revision knows all the same.
MARK = "obj_description('alembic_version'::regclass, 'pg_class')"
_MARKED = re.compile(r"compatible from (\w+)")


class Declared(NamedTuple):
    """What a migration says of itself.

    `summary`: what it does, for people. `compatible_from`: the oldest revision whose processes may
    run over the tables that it leaves; its own where it takes away what processes of the release
    before need. `loses`: what its way back would lose, None where it loses nothing. `rewrites`:
    tables of which it writes every row anew, or reads every row for an index or a check; `online`:
    whether others read and write them meanwhile. `pace`: of each table that is not rewritten
    online, the seconds that a million rows take on a machine that does nothing else.
    """

    revision: str
    summary: Text
    compatible_from: str
    loses: Text | None
    rewrites: tuple[str, ...]
    online: bool
    pace: Mapping[str, float] = {}


class NoSuchRevision(Exception):
    """There is no such revision; `known` are those that there are, the oldest first."""

    def __init__(self, revision: str, known: tuple[str, ...]) -> None:
        super().__init__(f"There is no revision ‘{revision}’.")
        self.revision = revision
        self.known = known


def driver_url(url: str) -> str:
    """The URL with the driver named, as SQLAlchemy wants it."""
    return "postgresql+asyncpg://" + url.partition("://")[2]


def configuration(url: str) -> "Config":
    """Alembic's configuration for a database."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(url: str, role: str | None = None, to: str = "head") -> None:
    """Migrates the database at `url` up to a revision, as `role` if that is another than the URL's;
    does nothing when it is there.
    """
    from alembic import command

    command.upgrade(_configuration_as(url, role), to)


def downgrade(url: str, to: str, role: str | None = None) -> None:
    """Migrates it back to an older revision; whether that loses anything is for the caller to look
    at.
    """
    from alembic import command

    command.downgrade(_configuration_as(url, role), to)


def _configuration_as(url: str, role: str | None) -> "Config":
    config = configuration(url)
    if role is not None:
        config.set_main_option("gridloop.role", role.replace("%", "%%"))
    return config


@cache
def scripts() -> "ScriptDirectory":
    """The migrations of this release as Alembic reads them."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(configuration(""))


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this release knows, the newest first."""
    return tuple(script.revision for script in scripts().walk_revisions())


@cache
def declared() -> tuple[Declared, ...]:
    """What every migration says of itself, the oldest first; one that does not say otherwise is for
    no older release.
    """
    found = []
    for script in reversed([*scripts().walk_revisions()]):
        module = script.module
        summary = getattr(module, "summary", None)
        found.append(
            Declared(
                script.revision,
                summary if isinstance(summary, Text) else Text(script.doc),
                getattr(module, "compatible_from", script.revision),
                getattr(module, "loses", None),
                getattr(module, "rewrites", ()),
                getattr(module, "online", False),
                getattr(module, "pace", {}),
            )
        )
    return tuple(found)


def between(before: str | None, after: str) -> tuple[Declared, ...]:
    """The migrations above one revision up to another, the oldest first. Raises
    `NoSuchRevision`.
    """
    known = revisions()[::-1]
    for revision in (before, after):
        if revision is not None and revision not in known:
            raise NoSuchRevision(revision, known)
    first = 0 if before is None else known.index(before) + 1
    return declared()[first : known.index(after) + 1]


def compatible_from(revision: str) -> str:
    """The oldest revision whose processes may run over the tables of another: the newest that any
    migration up to it names.
    """
    known = revisions()[::-1]
    return max((item.compatible_from for item in between(None, revision)), key=known.index)


def mark(revision: str) -> str:
    """What is written into a database with its revision."""
    return f"compatible from {compatible_from(revision)}"


def marked(mark: str | None) -> str | None:
    """The revision in a mark; None where there is none."""
    found = _MARKED.fullmatch(mark or "")
    return found[1] if found else None
