"""Brings a database to the newest tables, with the two roles that keep the service from changing them."""

import asyncio
from urllib.parse import unquote, urlsplit

import migrations
from migrations.roles import Migrated, Roles, migrate, refuse_others_than_the_owner
from service.postgres import as_role, role_of
from service.settings import Settings


def migrate_embedded(settings: Settings, url: str) -> Settings:
    """Migrates a database of the embedded server, whose superuser `url` names, and returns settings that connect as the two roles."""
    roles = Roles(settings.owner_role, settings.service_role)
    migrate(url, roles)
    return settings.model_copy(update={"database_url": as_role(url, roles.service), "owner_database_url": as_role(url, roles.owner)})


def migrate_given(settings: Settings) -> Migrated | None:
    """Migrates the database of the settings: with an owner's URL both roles are set right, without one the tables alone.

    Raises `NotTheOwner` where the role that migrates may not.
    """
    url = str(settings.database_url)
    if settings.owner_database_url is None:
        asyncio.run(refuse_others_than_the_owner(url))
        migrations.upgrade(url)
        return None
    service = role_of(url) or settings.service_role
    password = urlsplit(url).password
    return migrate(settings.owner_database_url, Roles(settings.owner_role, service), unquote(password) if password else None)
