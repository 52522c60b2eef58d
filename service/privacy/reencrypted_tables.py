"""The tables that hold encrypted values, and how a row of each is encrypted anew."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from service.identity.one_time_codes import Kept, reencrypted
from service.identity.second_factor import secret_place
from service.imports import keys as import_keys
from service.imports.encryption_places import body_place, effect_place
from service.jobs.results import part_place
from service.kit import encrypted_values as values
from service.kit.database import Row
from service.kit.encryption import Place, Undecrypted
from service.privacy import reencrypt_queries as sql
from service.privacy.reencrypted_values import Work
from service.webhooks.places import address_place
from service.webhooks.places import secret_place as webhook_secret_place
from service.writes import phone_index
from service.writes.originals import is_plain, original_place
from sync_protocol.kinds import Kind
from sync_protocol.records import KINDS


class Table(NamedTuple):
    """A table with encrypted columns: its key and those columns, with their types; what else is
    `read`; and how a row is made anew.
    """

    name: str
    key: sql.Columns
    columns: sql.Columns
    where: str
    anew: Callable[[Work, Row], Sequence[str | None]]
    read: Sequence[str] = ()


def _records(kind: Kind) -> Table:
    names = kind.personal_names

    def anew(work: Work, row: Row) -> list[str | None]:
        personal = [
            row[name] and work.text(Place(kind.name, name, row["id"]), row[name]) for name in names
        ]
        return [*personal, _extra(work, kind, row["id"], row["extra"])]

    where = " OR ".join(f"{name} IS NOT NULL" for name in (*names, "extra"))
    return Table(
        kind.name, {"id": "uuid"}, {**dict.fromkeys(names, "text"), "extra": "json"}, where, anew
    )


def _extra(work: Work, kind: Kind, id: str, stored: str | None) -> str | None:
    if stored is None or work.is_current(stored):
        return stored
    fields, lost = values.unknown_fields(work.cipher, kind, id, stored)
    for part in lost:
        work.lose(part if isinstance(part, str) else "")
    if lost:
        return stored
    return values.encrypted_unknown(work.cipher, kind, id, fields)


def _phone(work: Work, row: Row) -> list[str | None]:
    return [work.text(values.cadre_place(row["staff_code"]), row["phone"])]


def _signing_key(work: Work, row: Row) -> list[str | None]:
    return [work.text(Place("signing_key", "private_pem", row["kid"]), row["private_pem"])]


def _second_factor(work: Work, row: Row) -> list[str | None]:
    return [work.text(secret_place(row["staff_code"]), row["secret"])]


def _code(work: Work, row: Row) -> list[str | None]:
    stored: str = row["hash"]
    if work.cipher.is_current(stored):
        return [stored]
    anew = reencrypted(work.cipher, Kept(row["staff_code"], row["purpose"]), stored)
    if anew is None:
        work.lose(stored)
    return [anew or stored]


def _answer(work: Work, row: Row) -> list[str | None]:
    return [work.text(values.answer_place(row["caller"], row["key"]), row["body"])]


def _held(work: Work, row: Row) -> list[str | None]:
    id, body, detail, waits_for_kind = row["id"], row["body"], row["detail"], row["waits_for_kind"]
    if not work.is_current(body):
        found = values.held_body(work.cipher, id, body, row["kind"], row["record"], row["grid"])
        if found.is_whole:
            body = values.encrypted_json(work.cipher, values.held_place(id), found.text)
            if row["waits_for"] is not None and waits_for_kind is None:
                waits_for_kind = _kind_waited_for(row, json.loads(found.text))
        else:
            work.lose(body)
    place = values.held_place(id, "detail")
    if not work.cipher.is_current(detail):
        plain = work.cipher.try_decrypt(place, detail)
        if plain is None and work.cipher.missing_key(detail) is None and work.cipher.reads_v1:
            plain = detail  # the previous release kept it in plain text
        if plain is None:
            work.lose(detail)
        else:
            detail = work.cipher.encrypt(place, plain)
    return [body, detail, waits_for_kind, _original(work, id, row["original"])]


def _original(work: Work, id: str, stored: str | None) -> str | None:
    """The original of a held mutation, in hex as PostgreSQL gives it."""
    if stored is None:
        return None
    kept = bytes.fromhex(stored[2:])
    if work.cipher.reads_v1 and is_plain(kept):
        plain: bytes | None = kept
    elif work.cipher.are_bytes_current(kept):
        return stored
    else:
        plain = work.cipher.decrypt_bytes(original_place(id), kept)
    if plain is None:
        work.lose_bytes(kept)
        return stored
    return "\\x" + work.cipher.encrypt_bytes(original_place(id), plain).hex()


def _kind_waited_for(row: Row, body: dict[str, Any]) -> str | None:
    """Of which kind the record is that a mutation waits for."""
    kind = KINDS.get(row["kind"])
    if kind is None:
        return None
    if row["waits_for"] == row["record"]:
        return kind.name
    return next(
        (
            refers
            for name, refers in kind.references
            if body["fields"].get(name) == row["waits_for"]
        ),
        None,
    )


def _conflict(work: Work, row: Row) -> list[str | None]:
    return [_conflict_value(work, row, column) for column in ("kept", "lost", "value")]


def _conflict_value(work: Work, row: Row, column: str) -> str | None:
    stored: str | None = row[column]
    kind, field = row["kind"], row["field"]
    if stored is None or not values.is_private(kind, field) or work.is_current(stored):
        return stored
    value = values.conflict_value(
        work.cipher, kind, field, row["record"], row["id"], column, stored
    )
    if isinstance(value, Undecrypted):
        work.lose(stored)
        return stored
    return values.encrypted_conflict_value(work.cipher, kind, field, row["id"], column, value)


def _import_key(work: Work, row: Row) -> list[str | None]:
    """By what an import knows a household again: the index, too, is made anew."""
    cipher = work.cipher
    content, blind = bytes.fromhex(row["content"][2:]), bytes.fromhex(row["blind"][2:])
    if cipher.are_bytes_current(content) and cipher.keyring.is_index_current(blind):
        return [row["content"], row["blind"]]
    stored = import_keys.StoredKey(row["scope"], blind, row["household"], content)
    key = import_keys.opened(cipher, stored)
    if key is None:
        work.lose_bytes(content)
        return [row["content"], row["blind"]]
    anew = import_keys.stored(cipher, key, row["household"])
    return ["\\x" + anew.content.hex(), "\\x" + anew.blind.hex()]


def _household_phone(work: Work, row: Row) -> list[str | None]:
    """By which number a household is found: the index, too, is made anew."""
    cipher, household = work.cipher, row["household"]
    content, blind = bytes.fromhex(row["content"][2:]), bytes.fromhex(row["blind"][2:])
    if cipher.are_bytes_current(content) and cipher.keyring.is_index_current(blind):
        return [row["content"], row["blind"]]
    digest = phone_index.opened(cipher, household, content)
    if digest is None:
        work.lose_bytes(content)
        return [row["content"], row["blind"]]
    anew = phone_index.stored(cipher, household, digest)
    return ["\\x" + anew.content.hex(), "\\x" + anew.blind.hex()]


def _webhook(work: Work, row: Row) -> list[str | None]:
    id, secret = row["id"], row["secret"]
    return [
        work.text(address_place(id), row["address"]),
        None if secret is None else work.text(webhook_secret_place(id), secret),
    ]


def _body(place: Callable[[Row], Place]) -> Callable[[Work, Row], list[str | None]]:
    def anew(work: Work, row: Row) -> list[str | None]:
        body = bytes.fromhex(row["body"][2:])
        if work.cipher.are_bytes_current(body):
            return [row["body"]]
        plain = work.cipher.decrypt_bytes(place(row), body)
        if plain is None:
            work.lose_bytes(body)
            return [row["body"]]
        return ["\\x" + work.cipher.encrypt_bytes(place(row), plain).hex()]

    return anew


TABLES = (
    *map(_records, KINDS.values()),
    Table("cadre", {"staff_code": "text"}, {"phone": "text"}, "phone <> ''", _phone),
    Table("signing_key", {"kid": "text"}, {"private_pem": "text"}, "true", _signing_key),
    Table("second_factor", {"staff_code": "text"}, {"secret": "text"}, "true", _second_factor),
    Table(
        "one_time_code",
        {"staff_code": "text", "purpose": "text", "hash": "text"},
        {"hash": "text"},
        "true",
        _code,
    ),
    Table(
        "idempotency",
        {"caller": "text", "key": "text"},
        {"body": "text"},
        "body IS NOT NULL",
        _answer,
    ),
    Table(
        "held",
        {"id": "uuid"},
        {"body": "json", "detail": "text", "waits_for_kind": "text", "original": "bytea"},
        "true",
        _held,
        read=("kind", "record", "grid", "waits_for"),
    ),
    Table(
        "import_key",
        {"id": "uuid"},
        {"content": "bytea", "blind": "bytea"},
        "true",
        _import_key,
        read=("scope", "household"),
    ),
    Table(
        "household_phone",
        {"id": "uuid"},
        {"content": "bytea", "blind": "bytea"},
        "true",
        _household_phone,
        read=("household",),
    ),
    Table(
        "import_effect",
        {"import": "uuid", "kind": "text", "key": "text"},
        {"body": "bytea"},
        "body IS NOT NULL",
        _body(lambda row: effect_place(row["import"], row["kind"], row["key"])),
    ),
    Table(
        "roster_import_file",
        {"import": "uuid", "number": "integer", "part": "integer"},
        {"body": "bytea"},
        "true",
        _body(lambda row: body_place(row["import"], row["number"], row["part"])),
    ),
    Table(
        "job_result_part",
        {"result": "uuid", "part": "integer"},
        {"body": "bytea"},
        "true",
        _body(lambda row: part_place(row["result"], row["part"])),
    ),
    Table(
        "webhook",
        {"id": "uuid"},
        {"address": "text", "secret": "text"},
        "true",
        _webhook,
    ),
    Table(
        "conflict",
        {"id": "uuid"},
        {"kept": "json", "lost": "json", "value": "jsonb"},
        "true",
        _conflict,
        read=("kind", "field", "record"),
    ),
)
