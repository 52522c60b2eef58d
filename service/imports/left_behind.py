"""What was left when an import was taken back, by names that people know it by."""

from typing import TYPE_CHECKING, Any

import msgspec

from service.imports import known_queries, queries, roster_queries
from service.imports.encryption_places import effect_place
from service.imports.numbers import NONE, numbers_of
from service.imports.report import MAX_LEFT, Left
from service.imports.row_faults import masked_name
from service.imports.words import Words, named_post
from service.kit.database import Connection, Row
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.vocabulary.keeping import current_reference_data
from sync_protocol.periods import local_day
from sync_protocol.texts import Text, stored

if TYPE_CHECKING:
    from service.imports.runs import Run


def values_of(run: "Run", cipher: FieldCipher, row: Row) -> dict[str, Any] | None:
    """What an effect keeps of before and after; None when it cannot be decrypted."""
    if row["body"] is None:
        return {}
    body = cipher.decrypt_bytes(effect_place(run.id, row["kind"], row["key"]), row["body"])
    return None if body is None else msgspec.json.decode(body)


async def left_behind(connection: Connection, run: "Run") -> list[Left]:
    """The first things that an undo has left, each with why."""
    rows = await queries.left(connection, run.id, MAX_LEFT)
    cipher = await cipher_of(connection, run.settings)
    households = [row["key"] for row in rows if row["kind"] == "household"]
    heads = await known_queries.heads_of(connection, households)
    numbers = await numbers_of(connection, cipher, households)
    posts = await roster_queries.named_posts(
        connection, [row["key"] for row in rows if row["kind"] == "post"]
    )
    vocabulary = (await current_reference_data(connection)).vocabulary
    words = Words(vocabulary, local_day(run.now()))
    found = []
    for row in rows:
        key, named = row["key"], stored(row["key"])
        if row["kind"] == "household":
            number = numbers.get(key, NONE).household_no
            named = stored(_household(heads.get(key), number) or key)
        elif row["kind"] == "post":
            post = posts.get(key) or (values_of(run, cipher, row) or {}).get("after") or {}
            named = stored(_post(words, post) or key)
        grid = row["grid"] if row["kind"] == "household" else ""
        found.append(Left(row["kind"], key, grid, row["left_because"], named))
    return found


def _household(head: str | None, number: str | None) -> str:
    """A household's number, and its head as a report may show it."""
    return " ".join(part for part in (number, masked_name(head or "")) if part)


def _post(words: Words, post: Any) -> Text | None:
    if not post.get("staff_code"):
        return None
    return named_post(words.label("role", post["role"]), post["staff_code"], post["unit"])
