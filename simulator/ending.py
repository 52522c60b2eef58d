"""What is checked when a simulated history has come to rest: every promise, against the log, the
records and the phones.
"""

import json
from collections import defaultdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from service.kit.encrypted_values import conflict_value, log_row, verdict_rest
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.records.queries import load_sql, stored_from
from service.tallies.recount import differences
from service.writes.log_queries import read_bodies
from simulator.devices import EVERY_GRID
from simulator.history import check, check_accounted, check_revisions, content_of, content_of_body
from simulator.knowledge import check_what_knew_all_stands
from simulator.troubles import check_asked
from simulator.units import SPELLS, Units
from simulator.visible import EVERY_POST, Post, expected_copy
from sync_protocol.clock import TOLERANCE_MS, make_stamp, stamp_ms
from sync_protocol.messages import Change, canonical_json
from sync_protocol.periods import from_ms, local_day, to_ms
from sync_protocol.records import KINDS
from sync_protocol.windows import in_first_pull

if TYPE_CHECKING:
    from simulator.simulation import Simulation

Log = list[dict[str, Any]]
# Who may write visits: of the whole grid, or only of what is tied.
_VISITS = {"grid_worker", "village_secretary", "village_committee"}
_BY_TIES = {"contact_member"}
_TOO_OLD = timedelta(days=90)


class Ending:
    """`await Ending(sim).check()` raises `Failure` when a promise did not hold."""

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self._pool = sim.database.pool
        self._log: Log = []
        self._records: dict[tuple[str, str], dict[str, Any]] = {}
        self._posts: dict[str, list[Post]] = defaultdict(list)
        self._units = Units()

    async def check(self) -> None:
        """All promises, one after the other."""
        sim = self._sim
        held = await self._pool.fetch("SELECT device, seq FROM held")
        async with self._pool.acquire() as connection:
            cipher = await cipher_of(connection, sim.settings)
            await self._read(connection, cipher)
        conflicts = [
            _decrypted_conflict(cipher, row)
            for row in await self._pool.fetch("SELECT * FROM conflict")
        ]
        self._nothing_is_lost()
        check_accounted(
            self._log,
            held,
            conflicts,
            self._records,
            {item.content: item.knew for item in sim.written},
        )
        check_asked(
            sim.asked, self._log, lambda row: json.loads(row["body"])["fields"].get("title")
        )
        check_what_knew_all_stands(sim.written, self._log, self._records)
        await self._revisions()
        self._clocks()
        self._rights()
        self._copies()
        await self._mailboxes()
        async with self._pool.acquire() as connection:
            found = await differences(connection, sim.settings)
        check(not found, f"tallies and cases differ from a recount: {found[:3]}")
        sim.counts["conflicts"] += len(conflicts)
        sim.counts["held"] += len(held)

    async def _mailboxes(self) -> None:
        """Every phone shows the open notices of its cadre, and no other mutation as held (promise
        12).
        """
        rows = await self._pool.fetch(
            "SELECT id::text, mailbox, device::text, seq FROM held WHERE state = 'open'"
        )
        for device in self._sim.devices:
            mailbox = f"@{device.staff_code}"
            pulled = {
                change.id
                for change in device.device.store.pulled()
                if change.kind == "held" and change.fields["state"] == "open"
            }
            shown = len(device.device.held())
            if device.device.store.grids().count(mailbox):
                open_notices = [row for row in rows if row["mailbox"] == mailbox]
                check(
                    pulled == {row["id"] for row in open_notices},
                    f"promise 12: {device.name} lacks notices, or has others",
                )
                check(
                    shown == len(open_notices),
                    f"{device.name} shows {shown} mutations as held, and {len(open_notices)} are",
                )

    async def _read(self, connection: Any, cipher: FieldCipher) -> None:
        rows = await connection.fetch(
            "SELECT m.received_at, m.device::text AS device, m.seq, m.staff_code, m.kind, m.id,"
            " m.grid, m.stamp, m.offset_ms, m.body,"
            " m.outcome, m.rev, m.verdict, m.origin, d.name = '' AS server_side, d.created_at AS"
            " registered_at"
            " FROM mutation m LEFT JOIN device d ON d.id = m.device"
        )
        bodies = await read_bodies(connection, cipher, rows)
        self._log = [
            _decrypted_line(cipher, row, body.text) for row, body in zip(rows, bodies, strict=True)
        ]
        self._units = Units(await connection.fetch(SPELLS))
        for row in await connection.fetch(EVERY_POST):
            self._posts[row["staff_code"]].append(Post(*row[1:]))
        for kind in KINDS.values():
            for row in await connection.fetch(load_sql(kind).partition(" WHERE ")[0]):
                stored = stored_from(row, kind, cipher)
                self._records[kind.name, row["id"]] = {
                    "grid": stored.record.grid,
                    "rev": stored.record.last.rev,
                    "deleted": stored.record.deleted,
                    "fields": stored.record.fields,
                    "stamp": stored.record.last.stamp,
                    "by": stored.record.last.by,
                    "created_by": stored.record.created_by,
                }

    def _nothing_is_lost(self) -> None:
        """Every mutation that any device ever made is known to the server, but for those that a
        phone's own restore took with it.
        """
        known = {content_of_body(row["body"]) for row in self._log}
        holding = {
            content_of(mutation)
            for device in self._sim.devices
            for mutation in device.device.store.written()
        }
        gone_with_phones = any(device.restored for device in self._sim.devices)
        for item in self._sim.written:
            if item.content not in known:
                check(
                    item.content not in holding,
                    f"promise 9: a phone holds what the server has not: {item.content[:200]}",
                )
                check(gone_with_phones, f"nothing is lost: {item.content[:200]}")

    async def _revisions(self) -> None:
        grids = [*EVERY_GRID, *self._sim.made_grids]
        rows = await self._pool.fetch("SELECT grid, rev FROM counter WHERE grid = ANY($1)", grids)
        heads = {row["grid"]: row["rev"] for row in rows}
        taken = [
            (row["grid"], row["rev"])
            for row in self._log
            if row["rev"] is not None and row["grid"] in heads
        ]
        rows = await self._pool.fetch("SELECT grid, rev FROM departure WHERE grid = ANY($1)", grids)
        check_revisions(heads, taken + [(row["grid"], row["rev"]) for row in rows])

    def _clocks(self) -> None:
        """Corrected stamps never lie after the server's now, and are the true time for clocks that
        were wrong by the same all along.
        """
        true = {item.content: item.true_ms for item in self._sim.written if item.honest_clock}
        jumped = {device.staff_code for device in self._sim.devices if device.jumped}
        for row in self._log:
            ms = stamp_ms(f"{row['stamp']:016x}")
            check(
                ms <= to_ms(row["received_at"]) + 1,
                f"promise 6: a stamp lies after the server's now: {row['id']}",
            )
            made = true.get(content_of_body(row["body"]))
            if (
                made is not None
                and row["staff_code"] not in jumped
                and row["origin"] is None
                and not row["server_side"]
            ):
                # A request that was under way for long looks like a clock that is behind: then a
                # stamp may come out later, never earlier.
                delayed = to_ms(row["received_at"]) in self._sim.stray_moments and ms > made
                check(
                    delayed or abs(ms - made) <= TOLERANCE_MS + 1000,
                    f"promise 6: {row['staff_code']} {row['id']} is off by {ms - made} ms",
                )

    def _rights(self) -> None:
        """A cadre's work counts if a post allowed it when it was made, whatever the posts are at
        the sync (promise 7), unless it comes too late.
        """
        jumped = {device.staff_code for device in self._sim.devices if device.jumped}
        for row in self._log:
            if row["kind"] != "visit" or row["server_side"] or row["origin"] is not None:
                continue
            moment, received = from_ms(stamp_ms(f"{row['stamp']:016x}")), row["received_at"]
            body = json.loads(row["body"])
            author, grid, reason = row["staff_code"], body["grid"], row["reason"]
            posts = [
                post
                for post in self._posts[author]
                if self._units.under(post.unit, grid, moment) and post.at(moment)
            ]
            writing = [post for post in posts if post.role in _VISITS]
            tied = [post for post in posts if post.role in _BY_TIES]
            in_time = [post for post in writing + tied if not post.too_late(received)]
            who = f"promise 7: {author} {row['id']} in {grid}"
            if row["outcome"] != "held":
                check(writing or tied, f"{who} was applied without a post")
                check(in_time, f"{who} was applied though it came long after the post's end")
            elif reason == "not-allowed":
                check(not writing, f"{who} was refused though a post allowed it")
            elif reason == "late-after-post":
                ended = all(
                    post.valid_to is not None and post.valid_to <= received
                    for post in writing + tied
                )
                check(ended, f"{who} is late though a post goes on")
                honest = author not in jumped and to_ms(received) not in self._sim.stray_moments
                before = all(
                    row["registered_at"] < post.valid_to
                    for post in writing + tied
                    if post.valid_to is not None
                )
                check(
                    not (honest and before and in_time),
                    f"{who} is late though it came within the days of grace",
                )
            self._sim.counts[f"visit {reason}"] += reason is not None
            old = moment < row["registered_at"] - _TOO_OLD if row["registered_at"] else False
            check(reason != "stamp-too-old" or old, f"{who} was held as too old, though it is not")

    def _copies(self) -> None:
        """All devices hold the records that they are shown as the server has them, and nothing else
        (promise 8).
        """
        now = from_ms(self._sim.now_ms)
        changes = [Change(kind, id, **item) for (kind, id), item in self._records.items()]
        own_work_from = make_stamp(to_ms(self._sim.own_work_from))
        within = in_first_pull(changes, local_day(now), own_work_from)
        for device in self._sim.devices:
            pending = [view for view in device.device.records() if view.pending]
            check(not pending, f"{device.name} still waits for what came long ago: {pending[:3]}")
            shown = expected_copy(
                self._records,
                device.staff_code,
                self._posts[device.staff_code],
                now,
                own_work_from,
                self._units,
            )
            mine = {
                (change.kind, change.id): change
                for change in device.device.store.pulled()
                if change.kind != "held" and not change.deleted
            }
            # Beyond the windows of a first pull a phone may keep what it has, or not.
            mine = {
                key: change
                for key, change in mine.items()
                if key in within or key not in self._records
            }
            wanted = {key: fields for key, fields in shown.items() if key in within}
            check(
                mine.keys() - wanted.keys() == set(),
                f"promise 8: {device.name} keeps {list(mine.keys() - wanted.keys())[:3]}",
            )
            check(
                wanted.keys() - mine.keys() == set(),
                f"converge: {device.name} lacks {list(wanted.keys() - mine.keys())[:3]}",
            )
            for key, change in mine.items():
                record = self._records[key]
                # What it may not be shown, but wrote itself, a phone keeps.
                fields = {
                    name: value
                    for name, value in change.fields.items()
                    if name in wanted[key] or (device.staff_code, key[1], name) not in self._sim.own
                }
                check(
                    (change.grid, change.rev, fields)
                    == (record["grid"], record["rev"], wanted[key]),
                    f"converge: {device.name} has {change} and is shown {record} as {wanted[key]}",
                )


def _decrypted_line(cipher: FieldCipher, row: Any, body: str) -> dict[str, Any]:
    """A line of the log with its body, and the reason of its verdict."""
    rest = verdict_rest(
        cipher, row["kind"], log_row(row["device"], row["seq"], row["received_at"]), row["verdict"]
    )
    return {**dict(row), "body": body, "reason": rest.get("reason")}


def _decrypted_conflict(cipher: FieldCipher, row: Any) -> dict[str, Any]:
    """A conflict with its values as JSON."""
    names = (row["kind"], row["field"], str(row["record"]), str(row["id"]))
    return {
        **dict(row),
        **{
            name: canonical_json(conflict_value(cipher, *names, name, row[name]))
            for name in ("kept", "lost")
        },
    }
