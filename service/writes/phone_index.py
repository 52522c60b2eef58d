"""By what a household is found whose phone is encrypted: a blind index of each of its numbers (see
`Keyring.blind_index`), kept by the write path with the household.

Beside the index a digest of the number is kept, encrypted, so that the index can be made anew by
another key.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from service.kit.database import Connection
from service.kit.encryption import Place, Undecrypted
from service.kit.field_cipher import FieldCipher
from service.kit.sql import Cte, array

# Fewer digits than these are an extension, or a part of a number.
_FEWEST, _MOST = 7, 15


class PhoneKey(NamedTuple):
    """A row of `household_phone`, without its id."""

    household: str
    blind: bytes
    content: bytes


def numbers_in(phone: str) -> list[str]:
    """The numbers in a phone field, digits only, each once: `138 0000-0000 / 0472-1234567` has
    two. What is masked has none.
    """
    found: dict[str, None] = {}
    for part in re.split(r"[/、,;]", unicodedata.normalize("NFKC", phone)):
        digits = re.sub(r"\D", "", part)
        if digits.startswith("0086"):
            digits = digits[4:]
        elif len(digits) == 13 and digits.startswith("86"):
            digits = digits[2:]
        if _FEWEST <= len(digits) <= _MOST and "*" not in part:
            found[digits] = None
    return [*found]


def _digest(number: str) -> bytes:
    return hashlib.blake2b(f"phone\0{number}".encode(), digest_size=16).digest()


def _place(household: str) -> Place:
    return Place("household_phone", "content", household)


def stored(cipher: FieldCipher, household: str, digest: bytes) -> PhoneKey:
    """A number as it is kept, by the newest key; of it only a digest is given."""
    content = cipher.encrypt_bytes(_place(household), digest)
    return PhoneKey(household, cipher.keyring.blind_index(digest), content)


def keys_of(cipher: FieldCipher, household: str, phone: Any) -> list[PhoneKey]:
    """The rows of a household's phone; none where there is none."""
    if not isinstance(phone, str):
        return []
    return [stored(cipher, household, _digest(number)) for number in numbers_in(phone)]


def opened(cipher: FieldCipher, household: str, content: bytes) -> bytes | None:
    """The digest of a number from what is kept of it; None when it cannot be decrypted."""
    return cipher.decrypt_bytes(_place(household), content)


def indexes(cipher: FieldCipher, phone: str) -> list[bytes]:
    """Every index under which one of the numbers of a phone field may be stored."""
    return [
        index
        for number in numbers_in(phone)
        for index in cipher.keyring.blind_indexes(_digest(number))
    ]


_DROP = "DELETE FROM household_phone WHERE household = ANY($1::text::uuid[])"
_ADD = (
    "INSERT INTO household_phone (id, household, blind, content) SELECT gen_random_uuid(), p.*"
    " FROM unnest($1::text::uuid[], $2::bytea[], $3::bytea[]) AS p"
)


def _adding(keys: Sequence[PhoneKey]) -> Cte:
    return Cte(
        "index_phones",
        _ADD,
        (
            array(key.household for key in keys),
            [key.blind for key in keys],
            [key.content for key in keys],
        ),
    )


def keeping(cipher: FieldCipher, phones: Mapping[str, Any], known: Iterable[str]) -> list[Cte]:
    """Keeps the index of households whose phones have changed: those as they are now, None where
    there is none. `known`: the households among them that were there before.
    """
    readable = {id: phone for id, phone in phones.items() if not isinstance(phone, Undecrypted)}
    before = [id for id in known if id in readable]
    keys = [key for id, phone in readable.items() for key in keys_of(cipher, id, phone)]
    parts = [Cte("forget_phones", _DROP, (array(before),))] if before else []
    return [*parts, _adding(keys)] if keys else parts


async def index_some(
    connection: Connection, cipher: FieldCipher, after: str, limit: int
) -> list[str]:
    """Indexes households behind an id that are not, for they were written by a release that knew of
    no index; those that were looked at.
    """
    rows = await connection.fetch(
        "SELECT h.id::text, h.phone FROM household h WHERE h.id > $1::uuid AND NOT h.deleted"
        " AND h.phone IS NOT NULL AND NOT EXISTS (SELECT FROM household_phone p"
        " WHERE p.household = h.id) ORDER BY h.id LIMIT $2 FOR NO KEY UPDATE",
        after,
        limit,
    )
    keys = []
    for row in rows:
        phone = cipher.decrypt(Place("household", "phone", row["id"]), row["phone"])
        if not isinstance(phone, Undecrypted):
            keys += keys_of(cipher, row["id"], phone)
    if keys:
        part = _adding(keys)
        await connection.execute(part.sql, *part.values)
    return [row["id"] for row in rows]


async def households_with(connection: Connection, indexes: Sequence[bytes]) -> list[str]:
    """The households that have one of these numbers."""
    rows = await connection.fetch(
        "SELECT DISTINCT household::text FROM household_phone WHERE blind = ANY($1::bytea[])",
        list(indexes),
    )
    return [row["household"] for row in rows]
