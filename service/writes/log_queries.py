"""The SQL of the mutation log: a line for every mutation, and the blocks with their bodies."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from service.kit import encryption_v1
from service.kit.database import Connection
from service.kit.encrypted_values import (
    Body,
    encrypted_verdict,
    log_row,
    says_more,
    undecryptable_body,
    v1_body,
)
from service.kit.encryption import Place
from service.kit.field_cipher import FieldCipher
from service.kit.sql import NULL_CELL, Copy, Cte, array, copy_field
from service.writes.log_blocks import Block, blocks_of, bodies_in, may_be_located
from service.writes.prepared import Author, PreparedMutation
from sync_protocol.ids import UUID_FORM
from sync_protocol.messages import Mutation, Verdict
from sync_protocol.records import PERSONAL, VISIT
from sync_protocol.vocabulary import CODE_LENGTH

# A line of the mutation log: the mutation, its verdict, and the grid whose revision it took.
LogRow = tuple[PreparedMutation, Verdict, str]
# What a device says to have seen: its id, the record's kind and id, the grid in which the record
# lay, the rev.
Base = tuple[str, str, str, str, int]

COLUMNS = (
    *("received_at", "device", "staff_code", "offset_ms"),
    *("seq", "kind", "id", "grid", "stamp", "digest", "outcome", "rev", "verdict", "origin"),
)
_READ_AT_ONCE = 100


# ------------------------------------------------------------------------------------------ writing


class MutationLog:
    """Collects the lines of the mutations of one call of the write path, and their bodies: every
    one is kept whole, with its outcome.
    """

    def __init__(self, now: datetime, cipher: FieldCipher) -> None:
        self._now = now
        self._cipher = cipher
        self._writes_v1 = cipher.writes_v1
        self._lines: list[str] = []
        self._bodies: dict[str, list[tuple[int, bytes]]] = {}
        self._located: set[str] = set()
        # Those of `_lines`, where they are written as the previous release has them.
        self._v1_bodies: list[bytes] = []

    def add_applied(
        self,
        author: Author,
        mutations: Sequence[Mutation],
        contents: Sequence[bytes],
        stamps: Sequence[int],
        revs: Sequence[int],
        located: bool,
    ) -> None:
        """Adds mutations of one author that were applied as they were sent; `located`: whether one
        of them has a location.
        """
        self._lines += _applied_lines(
            author, mutations, contents, stamps, revs, self._now, self._cipher
        )
        self._bodies.setdefault(author.device, []).extend(
            zip([mutation.seq for mutation in mutations], contents, strict=True)
        )
        if located:
            self._located.add(author.device)
        if self._writes_v1:
            self._v1_bodies += contents

    def add(self, rows: Sequence[LogRow]) -> None:
        """Adds mutations with their verdicts."""
        digests = self._cipher.digests([item.parsed.identity for item, _, _ in rows])
        author, heading = None, ""
        for (item, verdict, grid), digest in zip(rows, digests, strict=True):
            device, content = item.author.device, item.parsed.content
            if item.author is not author:
                author, heading = item.author, _heading(item.author, self._now)
            self._lines.append(
                heading + _line(item, verdict, grid, digest, self._now, self._cipher)
            )
            self._bodies.setdefault(device, []).append((item.mutation.seq, content))
            # What is none of a known kind may be a visit all the same, which could not be read.
            if (item.kind is VISIT or item.kind is None) and may_be_located(content):
                self._located.add(device)
            if self._writes_v1:
                self._v1_bodies.append(_body_as_v1(item, self._cipher))

    def to_sql(self) -> tuple[Copy, list[Cte]]:
        """The rows of the log, and what keeps the bodies."""
        if self._writes_v1:
            lines = _with_v1_bodies(self._lines, self._v1_bodies)
            return Copy("mutation", (*COLUMNS, "body"), lines), []
        blocks = [
            block
            for device, bodies in self._bodies.items()
            for block in blocks_of(device, self._now, bodies, device in self._located, self._cipher)
        ]
        lines = ("\n".join(self._lines) + "\n").encode()
        return Copy("mutation", COLUMNS, lines), [insert_blocks(blocks)]


def _heading(author: Author, now: datetime) -> str:
    return (
        f"{now.isoformat()}\t{author.device}\t{copy_field(author.staff_code)}\t{author.offset_ms}\t"
    )


def _line(
    item: PreparedMutation,
    verdict: Verdict,
    grid: str,
    digest: bytes,
    now: datetime,
    cipher: FieldCipher,
) -> str:
    mutation = item.mutation
    kind, id = mutation.kind, mutation.id
    if verdict.outcome == "held":  # it may have called itself anything
        kind, id, grid = held_names(mutation)
    rest = None
    if says_more(verdict):
        rest = encrypted_verdict(
            cipher, mutation.kind, log_row(item.author.device, mutation.seq, now), verdict
        )
    written = NULL_CELL if rest is None else copy_field(rest)
    rev = NULL_CELL if verdict.rev is None else verdict.rev
    return (
        f"{mutation.seq}\t{kind}\t{id}\t{grid}\t{int(item.stamp, 16)}\t\\\\x{digest.hex()}\t"
        f"{verdict.outcome}\t{rev}\t{written}\t{item.origin or NULL_CELL}"
    )


def _applied_lines(
    author: Author,
    mutations: Sequence[Mutation],
    contents: Sequence[bytes],
    stamps: Sequence[int],
    revs: Sequence[int],
    now: datetime,
    cipher: FieldCipher,
) -> list[str]:
    heading, rest = _heading(author, now), f"{NULL_CELL}\t{NULL_CELL}"
    digests = cipher.digests(contents)
    return [
        f"{heading}{mutation.seq}\t{mutation.kind}\t{mutation.id}\t{mutation.grid}\t{stamp}\t\\\\x{digest.hex()}\tapplied\t{rev}\t{rest}"
        for mutation, stamp, digest, rev in zip(mutations, stamps, digests, revs, strict=True)
    ]


def applied(
    author: Author,
    mutations: Sequence[Mutation],
    stamps: Sequence[int],
    revs: Sequence[int],
    now: datetime,
    cipher: FieldCipher,
) -> tuple[list[str], list[Block]]:
    """What a push leaves in the log of which all was applied as it was sent, without a location:
    lines of `COLUMNS`, and blocks.
    """
    contents = [mutation.canonical() for mutation in mutations]
    lines = _applied_lines(author, mutations, contents, stamps, revs, now, cipher)
    bodies = [
        (mutation.seq, content) for mutation, content in zip(mutations, contents, strict=True)
    ]
    return lines, blocks_of(author.device, now, bodies, False, cipher)


def held_names(mutation: Mutation) -> tuple[str, str, str]:
    """What a held mutation calls its kind, id and grid, as far as each has the form of one;
    anybody's number may stand in their place.

    The body keeps them as they came, encrypted. Of what is no code of a unit the city is kept, so
    that somebody there is shown it.
    """
    kind = mutation.kind if _KIND_FORM.fullmatch(mutation.kind) else ""
    id = mutation.id if UUID_FORM.fullmatch(mutation.id) else ""
    grid = mutation.grid
    if not _DIGITS.fullmatch(grid) or len(grid) not in CODE_LENGTH.values():
        grid = grid[: CODE_LENGTH["city"]]
    return kind, id, grid if _DIGITS.fullmatch(grid) else ""


_KIND_FORM = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)
_DIGITS = re.compile(r"[1-9][0-9]{3,14}", re.ASCII)


def _body_as_v1(item: PreparedMutation, cipher: FieldCipher) -> bytes:
    if item.mutation.kind in PERSONAL:
        return encryption_v1.encrypt_body(cipher.keyring.v1, item.mutation)
    return item.parsed.content


def _with_v1_bodies(lines: Sequence[str], bodies: Sequence[bytes]) -> bytes:
    """The lines with the bodies behind them, as the previous release has them."""
    escaped = (content.replace(b"\\", b"\\\\") for content in bodies)
    return b"".join(
        [
            b"%s\t%s\n" % (line.encode(), content)
            for line, content in zip(lines, escaped, strict=True)
        ]
    )


_ADD_BLOCKS = """
    INSERT INTO mutation_body (device, received_at, first_seq, last_seq, located, body)
    SELECT * FROM unnest($1::text::uuid[], $2::timestamptz[], $3::text::bigint[],
           $4::text::bigint[], $5::text::bool[], $6::bytea[])
"""


def insert_blocks(blocks: Sequence[Block]) -> Cte:
    """Adds blocks."""
    devices, moments, firsts, lasts, located, bodies = zip(*blocks, strict=True)
    return Cte(
        "add_bodies",
        _ADD_BLOCKS,
        (array(devices), list(moments), array(firsts), array(lasts), array(located), list(bodies)),
    )


async def rewrite_blocks(connection: Connection, blocks: Sequence[Block]) -> None:
    """Writes blocks back in place of those with the same key."""
    await connection.executemany(
        "UPDATE mutation_body SET located = $5, body = $6"
        " WHERE device = $1::uuid AND received_at = $2 AND first_seq = $3 AND last_seq = $4",
        blocks,
    )


# ------------------------------------------------------------------------------------------ reading


_BLOCKS = """
    SELECT device::text, received_at, first_seq, body FROM mutation_body
    WHERE (device, received_at, first_seq) IN (
        SELECT b.device, b.received_at, b.first_seq
        FROM unnest($1::text::uuid[], $2::timestamptz[], $3::text::bigint[]) AS k(device, at, seq)
        JOIN mutation_body b ON b.device = k.device AND b.received_at = k.at
            AND k.seq BETWEEN b.first_seq AND b.last_seq)
"""


async def read_bodies(
    connection: Connection, cipher: FieldCipher, rows: Sequence[Any]
) -> list[Body]:
    """The bodies of lines of the log: rows with device, seq, received_at, kind, id, grid, and body
    as the previous release wrote it.
    """
    found: list[Body] = []
    for begin in range(0, len(rows), _READ_AT_ONCE):
        found += await _read_some(connection, cipher, rows[begin : begin + _READ_AT_ONCE])
    return found


async def _read_some(
    connection: Connection, cipher: FieldCipher, rows: Sequence[Any]
) -> list[Body]:
    keys = [
        (str(row["device"]), row["received_at"], row["seq"]) for row in rows if row["body"] is None
    ]
    contents: dict[tuple[str, datetime, int], bytes] = {}
    if keys:
        wanted = {*keys}
        devices, moments, seqs = zip(*keys, strict=True)
        for block in await connection.fetch(_BLOCKS, array(devices), list(moments), array(seqs)):
            for seq, content in (bodies_in(block, cipher) or {}).items():
                key = (block["device"], block["received_at"], seq)
                if key in wanted:
                    contents[key] = content
    return [
        _body(cipher, row, contents.get((str(row["device"]), row["received_at"], row["seq"])))
        for row in rows
    ]


def _body(cipher: FieldCipher, row: Any, content: bytes | None) -> Body:
    if content is not None:
        return Body(content.decode())
    place = Place("mutation", "body", log_row(str(row["device"]), row["seq"], row["received_at"]))
    if row["body"] is not None:
        if cipher.reads_v1:
            return v1_body(cipher, place, row["body"])
        cipher.note_undecryptable(place, None)
    return undecryptable_body(row["kind"], row["id"], row["grid"])


async def own_revs(connection: Connection, bases: Iterable[Base]) -> set[Base]:
    """Those bases that are revs which mutations of the same device took as they were: their device
    has laid them into its copy.
    """
    devices, kinds, records, grids, revs = zip(*bases, strict=True)
    rows = await connection.fetch(
        """
        SELECT DISTINCT m.device::text, m.kind, m.id, m.grid, m.rev
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[]) AS base
            (device, kind, id, grid, rev)
        JOIN mutation m USING (device, kind, id, grid, rev)
        WHERE m.outcome = 'applied'
        """,
        devices,
        kinds,
        records,
        grids,
        revs,
    )
    return {(row["device"], row["kind"], row["id"], row["grid"], row["rev"]) for row in rows}


async def first_outcomes(
    connection: Connection, device: str, first: int, last: int
) -> dict[int, Any]:
    """What became of a device's mutations the first time, by seq."""
    rows = await connection.fetch(
        "SELECT device::text, seq, received_at, kind, id, grid, digest, outcome, rev, verdict,"
        " body FROM mutation"
        " WHERE device = $1 AND seq BETWEEN $2 AND $3 AND origin IS NULL",
        device,
        first,
        last,
    )
    return {row["seq"]: row for row in rows}


async def is_content(connection: Connection, cipher: FieldCipher, row: Any, content: bytes) -> bool:
    """Whether a line of the log is of a mutation with this content; where the digest's key is gone,
    its body tells.
    """
    same = cipher.has_digest(row["digest"], content)
    if same is None:
        [body] = await read_bodies(connection, cipher, [row])
        same = body.is_whole and body.text.encode() == content
    return same
