"""What is encrypted of records, held mutations, conflicts and the log: in which column, for which
place, in which shape.

A JSON column holds an encrypted value as one JSON text. In the form of the previous release it
holds what that one reads; see `encryption_v1`. Here is the only place that knows both.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from service.kit import encryption_v1
from service.kit.encryption import Place, Undecrypted
from service.kit.field_cipher import FieldCipher
from sync_protocol import texts
from sync_protocol.kinds import Kind
from sync_protocol.messages import Mutation, Verdict, canonical_json
from sync_protocol.record_state import GRID, LIFE
from sync_protocol.records import KINDS, PERSONAL

# ------------------------------------------------------------------------------------ record tables


def encrypted_fields(
    cipher: FieldCipher, kind: Kind, id: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """A record's fields with the personal ones as their columns hold them."""
    names = kind.personal
    return {
        name: cipher.encrypt(Place(kind.name, name, id), value)
        if name in names and value is not None
        else value
        for name, value in fields.items()
    }


def personal_fields(
    cipher: FieldCipher, kind: Kind, id: str, stored: Sequence[str | None]
) -> dict[str, str]:
    """The personal fields of a record from their columns, in the order of `Kind.personal_names`;
    empty ones left out.
    """
    return {
        name: cipher.decrypt(Place(kind.name, name, id), value)
        for name, value in zip(kind.personal_names, stored, strict=True)
        if value is not None
    }


def whole_record(
    cipher: FieldCipher,
    kind: Kind,
    id: str,
    fields: str,
    personal: Sequence[str | None] | None,
    extra: str | None = None,
) -> str:
    """A record's JSON as it is shown: `fields` as SQL gives them, with the personal ones and those
    of newer apps.
    """
    more: dict[str, Any] = {}
    if personal:
        more = {
            name: str(value) for name, value in personal_fields(cipher, kind, id, personal).items()
        }
    if extra is not None:
        unknown, lost = unknown_fields(cipher, kind, id, extra)
        more |= unknown
        if lost:
            more["undecryptable"] = True
    if not more:
        return fields
    joint = "," if fields != "{}" else ""
    return fields[:-1] + joint + json.dumps(more, ensure_ascii=False, separators=(",", ":"))[1:]


def encrypted_unknown(
    cipher: FieldCipher, kind: Kind, id: str, fields: Mapping[str, Any], lost: Sequence[Any] = ()
) -> str | None:
    """The column `extra` of a record: its fields that only newer apps know. `lost`: what could not
    be decrypted of it, kept as it is.
    """
    if fields.keys() <= kind.by_name.keys():
        parts: list[Any] = []
    else:
        unknown = json.dumps(
            {name: value for name, value in fields.items() if name not in kind.by_name},
            sort_keys=True,
        )
        if cipher.writes_v1:
            parts = [json.loads(unknown)] if lost else []
            if not lost:
                return unknown
        else:
            parts = [cipher.encrypt(Place(kind.name, "extra", id), unknown)]
    parts = [*lost, *parts]
    return None if not parts else json.dumps(parts[0] if len(parts) == 1 else parts)


def unknown_fields(
    cipher: FieldCipher, kind: Kind, id: str, stored: str
) -> tuple[dict[str, Any], list[Any]]:
    """The fields of a record that only newer apps know, from the column `extra`, and those parts of
    it that cannot be decrypted.
    """
    held = json.loads(stored)
    found: dict[str, Any] = {}
    lost: list[Any] = []
    place = Place(kind.name, "extra", id)
    for part in held if isinstance(held, list) else [held]:
        plain = cipher.try_decrypt(place, part) if isinstance(part, str) else None
        if plain is not None:
            part = json.loads(plain)
        if isinstance(part, dict) and (plain is not None or cipher.reads_v1):
            found |= part
        else:
            cipher.undecrypted(place, part if isinstance(part, str) else "")
            lost.append(part)
    return found, lost


# --------------------------------------------------------------------------------- bodies, verdicts


class Body(NamedTuple):
    """The canonical JSON of a mutation; when it could not be decrypted in full, `is_whole` says so,
    and the text is fit for showing.
    """

    text: str
    is_whole: bool = True


def undecryptable_body(kind: str, id: str, grid: str) -> Body:
    """What is shown of a mutation whose body cannot be decrypted."""
    return Body(
        canonical_json({"kind": kind, "id": id, "grid": grid, "fields": {}, "undecryptable": True}),
        is_whole=False,
    )


def v1_body(cipher: FieldCipher, place: Place, stored: str) -> Body:
    """A body in the form of the previous release."""
    whole = True

    def plain(value: str) -> str:
        nonlocal whole
        found = encryption_v1.decrypt(cipher.keyring.v1, value)
        if found is None:
            whole = False
            return str(cipher.undecrypted(place, value))
        return found

    return Body(encryption_v1.decrypt_body(stored, plain), whole)


def encrypted_json(cipher: FieldCipher, place: Place, text: str) -> str:
    """A text for a JSON column, encrypted: as one JSON text."""
    return f'"{cipher.encrypt(place, text)}"'


def held_place(id: str, column: str = "body") -> Place:
    """Where a held mutation keeps something."""
    return Place("held", column, id)


def encrypted_held_body(cipher: FieldCipher, id: str, mutation: Mutation) -> str:
    """The column `held.body`."""
    if cipher.writes_v1:
        return encryption_v1.encrypt_body(cipher.keyring.v1, mutation).decode()
    return encrypted_json(cipher, held_place(id), mutation.canonical().decode())


def held_body(cipher: FieldCipher, id: str, stored: str, kind: str, record: str, grid: str) -> Body:
    """A held mutation's JSON from the column `held.body`."""
    place = held_place(id)
    if stored.startswith('"'):
        value = json.loads(stored)
        plain = cipher.try_decrypt(place, value)
        if plain is not None:
            return Body(plain)
        cipher.undecrypted(place, value)
    elif cipher.reads_v1:
        return v1_body(cipher, place, stored)
    else:
        cipher.undecrypted(place, "")
    return undecryptable_body(kind, record, grid)


def encrypted_detail(cipher: FieldCipher, id: str, detail: str) -> str:
    """The column `held.detail`, which may quote what was sent: the sentence and what stands in it,
    to be shown in any language.
    """
    return (
        str(detail)
        if cipher.writes_v1
        else cipher.encrypt(held_place(id, "detail"), texts.stored(detail))
    )


def held_detail(cipher: FieldCipher, id: str, stored: str) -> str:
    """Why a mutation is held, in words; the previous release kept it in plain text."""
    place = held_place(id, "detail")
    plain = cipher.try_decrypt(place, stored)
    if plain is None:
        plain = stored if cipher.reads_v1 else str(cipher.undecrypted(place, stored))
    return texts.restored(plain)


def log_row(device: str, seq: int, received_at: datetime) -> str:
    """The key of a line, or a block, of the mutation log."""
    return f"{device} {seq} {received_at.astimezone(UTC).isoformat(timespec='microseconds')}"


def says_more(verdict: Verdict) -> bool:
    """Whether a verdict says something that its outcome alone does not."""
    return verdict.conflicts is not None or verdict.reason is not None


def encrypted_verdict(cipher: FieldCipher, kind: str, row: str, verdict: Verdict) -> str | None:
    """The column `mutation.verdict`: what the outcome alone does not say; None when there is
    nothing.
    """
    if not says_more(verdict):
        return None
    conflicts = verdict.conflicts
    if cipher.writes_v1:
        conflicts = encryption_v1.encrypt_conflicts(cipher.keyring.v1, kind, conflicts)
    detail = verdict.detail and (
        str(verdict.detail) if cipher.writes_v1 else texts.stored(verdict.detail)
    )
    text = canonical_json({"conflicts": conflicts, "reason": verdict.reason, "detail": detail})
    return (
        text
        if cipher.writes_v1
        else encrypted_json(cipher, Place("mutation", "verdict", row), text)
    )


def verdict_text(cipher: FieldCipher, kind: str, row: str, stored: str) -> str | None:
    """The same in plain text as JSON; None when it cannot be decrypted in full."""
    place = Place("mutation", "verdict", row)
    if stored.startswith('"'):
        return cipher.try_decrypt(place, json.loads(stored))
    if not cipher.reads_v1:
        return None
    whole = True

    def plain(value: str) -> str:
        nonlocal whole
        found = encryption_v1.decrypt(cipher.keyring.v1, value)
        whole = whole and found is not None
        return found or ""

    text = encryption_v1.decrypt_verdict(stored, kind, plain)
    return text if whole else None


def verdict_rest(cipher: FieldCipher, kind: str, row: str, stored: str | None) -> dict[str, Any]:
    """What the outcome alone does not say: conflicts, reason and detail; the marker as the detail
    when it cannot be decrypted.
    """
    if stored is None:
        return {}
    text = verdict_text(cipher, kind, row, stored)
    if text is None:
        return {
            "detail": str(cipher.undecrypted(Place("mutation", "verdict", row), stored.strip('"')))
        }
    rest: dict[str, Any] = json.loads(text)
    if rest.get("detail"):
        rest["detail"] = texts.restored(rest["detail"])
    return rest


# ---------------------------------------------------------------------------------------- conflicts


def is_private(kind: str, field: str) -> bool:
    """Whether the values of a field are encrypted: personal ones, and all that this version does
    not know.
    """
    known = KINDS[kind].by_name if kind in KINDS else {}
    return field in PERSONAL.get(kind, ()) or (field not in known and field not in (GRID, LIFE))


def encrypted_conflict_value(
    cipher: FieldCipher, kind: str, field: str, id: str, column: str, value: Any
) -> str:
    """A value of a conflict as JSON for its column."""
    if isinstance(value, Undecrypted):
        return json.dumps(value.raw)  # it is that of the record's own column
    if not is_private(kind, field):
        return canonical_json(value)
    if cipher.writes_v1:
        return canonical_json(encryption_v1.encrypt_field(cipher.keyring.v1, kind, field, value))
    return encrypted_json(cipher, Place("conflict", column, id), canonical_json(value))


def conflict_value(
    cipher: FieldCipher, kind: str, field: str, record: str, id: str, column: str, stored: str
) -> Any:
    """A value of a conflict from its column; an `Undecrypted` when there is none to be had."""
    value = json.loads(stored)
    if not is_private(kind, field):
        return value
    place = Place("conflict", column, id)
    if not isinstance(value, str):
        return value if cipher.reads_v1 else cipher.undecrypted(place, "")
    text = cipher.try_decrypt(place, value)
    if text is not None:
        return json.loads(text)
    # It stood in the record when it could not be decrypted, and was kept as it was.
    text = cipher.try_decrypt(Place(kind, field, record), value)
    if text is not None:
        return text
    if field in PERSONAL.get(kind, ()):
        return cipher.decrypt(place, value)
    return value if cipher.reads_v1 else cipher.undecrypted(place, value)


# ---------------------------------------------------------------------------------- cadres, answers


def cadre_place(staff_code: str) -> Place:
    """Where a cadre's phone number stands."""
    return Place("cadre", "phone", staff_code)


def encrypted_phone(cipher: FieldCipher, staff_code: str, phone: str) -> str:
    """The column `cadre.phone`; nothing stays nothing."""
    return cipher.encrypt(cadre_place(staff_code), phone) if phone else ""


def cadre_phone(cipher: FieldCipher, row: Any) -> str:
    """A cadre's phone number, from a row with staff_code and phone."""
    return cipher.shown(cadre_place(row["staff_code"]), row["phone"]) if row["phone"] else ""


def answer_place(caller: str, key: str) -> Place:
    """Where the answer to a request with an `Idempotency-Key` is kept."""
    return Place("idempotency", "body", f"{caller}\0{key}")


def mutation_of(body: str, seq: int) -> Mutation:
    """A mutation from its JSON."""
    return msgspec.convert({**json.loads(body), "seq": seq}, Mutation)
