"""The SQL of the sync: counters, log, conflicts, the epoch, the device's row."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from service.database import Connection, Row
from service.statements import NULL_CELL, Copy, Part, array, cell, text_array
from service.sync.intake import Author, Ready
from service.sync.new_visits import ReadyVisits
from service.vault import Vault
from sync_protocol import clock
from sync_protocol.merge import Loss
from sync_protocol.messages import Mutation, Verdict, canonical_json
from sync_protocol.periods import from_ms
from sync_protocol.records import PERSONAL
from sync_protocol.texts import stored

# A line of the mutation log: the mutation, its verdict, and the grid whose revision it took.
LogRow = tuple[Ready, Verdict, str]


class ConflictEntry(msgspec.Struct):
    """A new conflict."""

    id: str
    grid: str
    kind: str
    record: str
    rev: int
    loss: Loss


# ---------------------------------------------------------------------------------------------------- counters


_ADVANCE = """
    UPDATE counter SET rev = rev + t.n FROM unnest($1::text::text[], $2::text::bigint[]) AS t(grid, n) WHERE counter.grid = t.grid
"""


def advancing(taken: Mapping[str, int]) -> Part:
    """Moves counters on by the revisions that were taken; their rows are locked."""
    return Part("advance", _ADVANCE, (array(taken), array(taken.values())))


async def next_in_mailbox(connection: Connection, mailbox: str, count: int) -> int:
    """Takes `count` revisions of a mailbox and returns the first."""
    head: int = await connection.fetchval(
        "INSERT INTO counter AS c (grid, rev) VALUES ($1, $2) ON CONFLICT (grid) DO UPDATE SET rev = c.rev + excluded.rev RETURNING rev",
        mailbox,
        count,
    )
    return head - count + 1


# ------------------------------------------------------------------------------------------------------ writing


_LOG_COLUMNS = (
    *("received_at", "device", "staff_code", "offset_ms"),
    *("seq", "kind", "id", "grid", "stamp", "digest", "outcome", "rev", "verdict", "origin", "body"),
)


def logging(rows: Sequence[LogRow], visits: Iterable[tuple[ReadyVisits, Sequence[int]]], now: datetime, vault: Vault) -> Copy:
    """Keeps every mutation whole, with its outcome; `visits`: new visits, with the revisions that they took."""
    lines: list[bytes] = []
    for new, revs in visits:
        lines += _lines_of(new, revs, now)
    author, heading = None, ""
    for item, verdict, grid in rows:
        mutation = item.mutation
        if item.author is not author:
            author, heading = item.author, _heading(item.author, now)
        body, digest = item.reading.content, item.reading.digest.hex()
        kind, id = mutation.kind, mutation.id
        if verdict.outcome == "held":  # it may have called itself anything
            kind, id, grid = cell(printable(kind)), cell(printable(id)), cell(printable(grid))
        if kind in PERSONAL:
            body = sealed_body(mutation, vault)
        if b"\\" in body:
            body = body.replace(b"\\", b"\\\\")
        rest = NULL_CELL if verdict.conflicts is None and verdict.reason is None else cell(_verdict_rest(verdict, mutation.kind, vault))
        rev = NULL_CELL if verdict.rev is None else verdict.rev
        line = (
            f"{heading}{mutation.seq}\t{kind}\t{id}\t{grid}\t{int(item.stamp, 16)}\t\\\\x{digest}\t{verdict.outcome}\t{rev}\t{rest}\t"
            f"{item.origin or NULL_CELL}\t"
        )
        lines += (line.encode(), body, b"\n")
    return Copy("mutation", _LOG_COLUMNS, b"".join(lines))


def _heading(author: Author, now: datetime) -> str:
    return f"{now.isoformat()}\t{author.device}\t{cell(author.staff_code)}\t{author.offset_ms}\t"


def _lines_of(new: ReadyVisits, revs: Sequence[int], now: datetime) -> list[bytes]:
    heading, visits = _heading(new.author, now), new.visits
    rest = f"{NULL_CELL}\t{NULL_CELL}"
    lines: list[bytes] = []
    for mutation, stamp, digest, rev, content in zip(visits.mutations, new.numbers, visits.digests, revs, visits.contents, strict=True):
        names = f"{mutation.kind}\t{mutation.id}\t{mutation.grid}"
        line = f"{heading}{mutation.seq}\t{names}\t{stamp}\t\\\\x{digest.hex()}\tapplied\t{rev}\t{rest}\t"
        lines += (line.encode(), content.replace(b"\\", b"\\\\"), b"\n")
    return lines


def printable(text: str) -> str:
    """What a mutation called its kind, id or grid, fit for a text column; the body keeps it as it came."""
    if text.isascii() and text.isprintable() and len(text) <= 80:
        return text
    return text.encode("utf-8", "replace").decode().replace("\0", "�")[:80]


def sealed_body(mutation: Mutation, vault: Vault) -> bytes:
    """The canonical JSON of a mutation with the personal fields sealed."""
    if mutation.kind not in PERSONAL:
        return mutation.canonical()
    return msgspec.structs.replace(mutation, fields=vault.seal_fields(mutation.kind, mutation.fields)).canonical()


def _sealed_value(kind: str, field: str, value: Any, vault: Vault) -> Any:
    return vault.seal_fields(kind, {field: value})[field]


def _verdict_rest(verdict: Verdict, kind: str, vault: Vault) -> str:
    conflicts = verdict.conflicts
    if conflicts and kind in PERSONAL:
        conflicts = [
            msgspec.structs.replace(
                item, kept=_sealed_value(kind, item.field, item.kept, vault), lost=_sealed_value(kind, item.field, item.lost, vault)
            )
            for item in conflicts
        ]
    return canonical_json({"conflicts": conflicts, "reason": verdict.reason, "detail": verdict.detail and stored(verdict.detail)})


_DISPUTE = """
    INSERT INTO conflict (id, grid, kind, record, field, rule, rev, kept, kept_by, kept_device, kept_at,
                          lost, lost_by, lost_device, lost_at, created_at)
    SELECT c.id, c.grid, c.kind, c.record, c.field, c.rule, c.rev, c.kept::json, c.kept_by, c.kept_device, c.kept_at,
           c.lost::json, c.lost_by, c.lost_device, c.lost_at, $1::timestamptz
    FROM unnest($2::text::uuid[], $3::text::text[], $4::text::text[], $5::text::uuid[], $6::text::text[], $7::text::text[],
                $8::text::bigint[], $9::text::text[], $10::text::text[], $11::text::uuid[], $12::text::timestamptz[],
                $13::text::text[], $14::text::text[], $15::text::uuid[], $16::text::timestamptz[])
      AS c(id, grid, kind, record, field, rule, rev, kept, kept_by, kept_device, kept_at, lost, lost_by, lost_device, lost_at)
"""


def disputing(entries: Sequence[ConflictEntry], now: datetime, vault: Vault) -> Part:
    """Keeps what lost, for ever."""

    def value(entry: ConflictEntry, given: Any) -> str:
        return canonical_json(_sealed_value(entry.kind, entry.loss.field, given, vault))

    losses = [entry.loss for entry in entries]
    return Part(
        "dispute",
        _DISPUTE,
        (
            now,
            array([entry.id for entry in entries]),
            array([entry.grid for entry in entries]),
            array([entry.kind for entry in entries]),
            array([entry.record for entry in entries]),
            text_array([loss.field for loss in losses]),
            text_array([loss.rule for loss in losses]),
            array([entry.rev for entry in entries]),
            text_array([value(entry, entry.loss.kept) for entry in entries]),
            text_array([loss.kept_clock.by for loss in losses]),
            array([loss.kept_clock.device for loss in losses]),
            array([f'"{from_ms(clock.stamp_ms(loss.kept_clock.stamp))}"' for loss in losses]),
            text_array([value(entry, entry.loss.lost) for entry in entries]),
            text_array([loss.lost_clock.by for loss in losses]),
            array([loss.lost_clock.device for loss in losses]),
            array([f'"{from_ms(clock.stamp_ms(loss.lost_clock.stamp))}"' for loss in losses]),
        ),
    )


_DEPART = """
    INSERT INTO departure (grid, rev, kind, id)
    SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::uuid[])
"""


def departing(rows: Sequence[tuple[str, int, str, str]]) -> Part:
    """Notes for the feeds of grids which records have left them."""
    return Part("depart", _DEPART, tuple(array(column) for column in zip(*rows, strict=True)))


# ----------------------------------------------------------------------------------------------- server, device


async def server_state(connection: Connection) -> Row:
    """The epoch and the cursor key."""
    row = await connection.fetchrow("SELECT epoch, epoch_at, cursor_key FROM server")
    assert row is not None
    return row


async def any_ahead(connection: Connection, revs: Mapping[str, int]) -> bool:
    """Whether one of these revisions of grids is above the grid's head."""
    found: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM unnest($1::text[], $2::bigint[]) AS k(grid, rev)"
        " LEFT JOIN counter c ON c.grid = k.grid WHERE k.rev > coalesce(c.rev, 0))",
        list(revs),
        list(revs.values()),
    )
    return found


async def new_epoch(connection: Connection, current: str) -> str:
    """Takes a new epoch, unless another process just did; returns the one in force."""
    await connection.execute("UPDATE server SET epoch = gen_random_uuid(), epoch_at = now() WHERE epoch = $1::uuid", current)
    return str(await connection.fetchval("SELECT epoch::text FROM server"))


async def lock_device(connection: Connection, device: str) -> Row | None:
    """A device's count and clock, locked."""
    return await connection.fetchrow("SELECT acked_seq, last_stamp FROM device WHERE id = $1 FOR NO KEY UPDATE", device)


async def add_device(connection: Connection, device: str, staff_code: str, now: datetime) -> None:
    """Makes a device's row where there is none: after a restore, a genuine token proves that there was one."""
    await connection.execute(
        """
        INSERT INTO device (id, staff_code, name, platform, app_version, acked_seq, last_stamp, queued, clock_offset_ms, created_at)
        VALUES ($1, $2, '', '', '', 0, 0, 0, 0, $3) ON CONFLICT (id) DO NOTHING
        """,
        device,
        staff_code,
        now,
    )


class Acknowledged(NamedTuple):
    """Where a device stands after a push."""

    device: str
    acked: int
    stamp: str
    offset_ms: int
    queued: int


_ACKNOWLEDGE = """
    UPDATE device d
    SET acked_seq = a.acked, last_stamp = a.stamp, clock_offset_ms = a.offset_ms, queued = a.queued, last_seen = $1::timestamptz
    FROM unnest($2::text::uuid[], $3::text::bigint[], $4::text::bigint[], $5::text::bigint[], $6::text::int[])
      AS a(id, acked, stamp, offset_ms, queued) WHERE d.id = a.id
"""


def acknowledging(devices: Sequence[Acknowledged], now: datetime) -> Part:
    """Moves devices on after their pushes."""
    rows = [(item.device, item.acked, int(item.stamp, 16), item.offset_ms, item.queued) for item in devices]
    return Part("acknowledge", _ACKNOWLEDGE, (now, *map(array, zip(*rows, strict=True))))


async def seen(connection: Connection, device: str, queued: int, offset_ms: int, now: datetime) -> None:
    """Notes that a device asked without handing in anything."""
    await connection.execute(
        "UPDATE device SET last_seen = $2, queued = $3, clock_offset_ms = $4 WHERE id = $1", device, now, queued, offset_ms
    )


async def first_outcomes(connection: Connection, device: str, first: int, last: int) -> dict[int, Row]:
    """What became of a device's mutations the first time, by seq."""
    rows = await connection.fetch(
        "SELECT seq, digest, outcome, rev, verdict FROM mutation WHERE device = $1 AND seq BETWEEN $2 AND $3 AND origin IS NULL",
        device,
        first,
        last,
    )
    return {row["seq"]: row for row in rows}
