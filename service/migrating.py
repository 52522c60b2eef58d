"""Migrates a database, with the two roles that keep the service from changing its tables."""

import asyncio
from urllib.parse import unquote, urlsplit

import migrations
from migrations.roles import Migrated, Roles, migrate, refuse_others_than_the_owner
from service.postgres import as_role, role_of
from service.settings import Settings


def migrate_embedded(settings: Settings, url: str) -> Settings:
    """Migrates a database of the embedded server; returns settings that connect as the two roles.

    `url` is that of its superuser.
    """
    roles = Roles(settings.owner_role, settings.service_role)
    migrate(url, roles)
    service, owner = as_role(url, roles.service), as_role(url, roles.owner)
    return settings.model_copy(update={"database_url": service, "owner_database_url": owner})


def migrate_given(settings: Settings) -> Migrated | None:
    """Migrates the database of the settings: with an owner's URL, both roles are set right, too.

    Raises `NotTheOwner` where the role that migrates may not.
    """
    url = str(settings.database_url)
    if settings.owner_database_url is None:
        asyncio.run(refuse_others_than_the_owner(url))
        migrations.upgrade(url)
        return None
    service = role_of(url) or settings.service_role
    password = urlsplit(url).password
    roles = Roles(settings.owner_role, service)
    return migrate(settings.owner_database_url, roles, unquote(password) if password else None)
