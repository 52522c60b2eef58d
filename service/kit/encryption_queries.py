"""The SQL of encryption: in which form this database is written and read, and which keys it
needs.
"""

from service.kit.database import Connection
from service.kit.encryption import KeyMissing, State
from service.kit.field_cipher import FieldCipher
from service.kit.key_file import make_key_file
from service.kit.settings import Settings
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


async def cipher_of(connection: Connection, settings: Settings) -> FieldCipher:
    """What encrypts and decrypts for this database; whoever writes asks in the transaction that
    writes. Raises `KeyMissing`.
    """
    if not settings.has_keys:
        await make_first_key(connection, settings)
    return settings.keyring.cipher(await connection.fetchval("SELECT encryption FROM server"))


async def make_first_key(connection: Connection, settings: Settings) -> None:
    """Makes the key file for a database that needs none yet.

    Raises `KeyMissing` where something is encrypted already: what a new key encrypts would be lost
    once the right one is back.
    """
    if await anything_encrypted(connection):
        raise KeyMissing(
            Text(
                "The key file {file} is not there, and the database holds what its keys encrypted."
                " Put it back from its copy, name it"
                " by GRIDLOOP_SECRET_FILE, or give the keys in GRIDLOOP_SECRET_KEYS; no new key"
                " was made.",
                file=settings.key_file,
            )
        )
    make_key_file(settings.key_file)


async def refuse_unknown_keys(connection: Connection, settings: Settings) -> None:
    """Raises `KeyMissing` unless there are the keys by which this database is encrypted at present;
    makes the first of a new one.

    What is written by another key could not be read any more once the right one is back.
    """
    cipher = await cipher_of(connection, settings)
    missing = [cipher.missing_key(stored) for stored in await newest_encrypted(connection)]
    # Of many values one may have been tampered with; that must not stop the service.
    if missing and missing[0] is not None and None not in missing:
        raise KeyMissing(missing_key_text(settings, missing[0]))


def missing_key_text(settings: Settings, kid: str) -> Text:
    """That a key is not among those that the settings give, and what to do."""
    where = settings.key_file if settings.secret_keys is None else "GRIDLOOP_SECRET_KEYS"
    return Text(
        "Key {kid} is not in {where}, and the database is encrypted by it. Add it there from its"
        " copy, behind the others."
        " If it is lost for good: ‘gridloop keys rotate --at-once’, then ‘gridloop keys reencrypt"
        " --give-up’.",
        kid=kid,
        where=where,
    )


# A value in one of the two forms, by itself or as a JSON text.
_ENCRYPTED = """ ~ '^"?gl[12][.]'"""
_COLUMNS = {
    "signing_key": ("private_pem",),
    "second_factor": ("secret",),
    "cadre": ("phone",),
    "held": ("body::text", "detail"),
    "idempotency": ("body",),
    **{kind.name: (*kind.personal_names, "extra::text") for kind in KINDS.values()},
}
_ANYTHING = [
    f"EXISTS (SELECT FROM {table} WHERE {' OR '.join(column + _ENCRYPTED for column in columns)})"
    for table, columns in _COLUMNS.items()
]


async def anything_encrypted(connection: Connection) -> bool:
    """Whether this database holds anything that a key is needed for; looks through all tables when
    there is nothing.
    """
    found: bool = await connection.fetchval(
        f"SELECT {' OR '.join(_ANYTHING)} OR EXISTS (SELECT FROM mutation_body) OR EXISTS (SELECT"
        " FROM one_time_code) OR EXISTS (SELECT FROM import_key) OR EXISTS (SELECT FROM"
        " household_phone)"
    )
    return found


async def newest_encrypted(connection: Connection) -> list[str]:
    """The values that tell by which key this database is encrypted: the newest signing key, which
    is made with the first sign-in; before that some phone numbers.
    """
    signing = await connection.fetch(
        f"SELECT private_pem FROM signing_key WHERE private_pem {_ENCRYPTED}"
        " ORDER BY retired_at IS NOT NULL, created_at DESC, kid LIMIT 1"
    )
    if signing:
        return [signing[0]["private_pem"]]
    rows = await connection.fetch(
        f"(SELECT phone FROM cadre WHERE phone {_ENCRYPTED} LIMIT 20)"
        f" UNION ALL (SELECT phone FROM household WHERE phone {_ENCRYPTED} LIMIT 20)"
    )
    return [row["phone"] for row in rows]


async def set_state(connection: Connection, state: State) -> None:
    """Records the form."""
    await connection.execute("UPDATE server SET encryption = $1", state.value)


_UNDER_WAY = """
    SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
        AND a.datname = current_database()
"""


async def transactions_under_way(connection: Connection) -> set[str]:
    """The transactions that are under way in this database, but for the caller's own."""
    return {row["virtualtransaction"] for row in await connection.fetch(_UNDER_WAY)}
