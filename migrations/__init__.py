"""The migrations, run by Alembic: `upgrade(url)` brings a database to the newest tables."""

from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory


def driver_url(url: str) -> str:
    """The URL with the driver named, as SQLAlchemy wants it."""
    return "postgresql+asyncpg://" + url.partition("://")[2]


def configuration(url: str) -> Config:
    """Alembic's configuration for a database."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(url: str, role: str | None = None) -> None:
    """Migrates the database at `url` to the newest revision, as `role` if that is another than the URL's; does nothing when it is there."""
    config = configuration(url)
    if role is not None:
        config.set_main_option("gridloop.role", role.replace("%", "%%"))
    command.upgrade(config, "head")


@cache
def revisions() -> tuple[str, ...]:
    """Every revision that this release knows, the newest first."""
    return tuple(script.revision for script in ScriptDirectory.from_config(configuration("")).walk_revisions())
