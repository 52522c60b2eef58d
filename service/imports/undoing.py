"""Takes an import back, as far as nobody has edited since what it did; the rest is left and listed
with the reason.

Households go through the one write path as mutations of who undoes it. Each transaction takes away
the effects that it undid, so that a process which was killed is followed by another that goes on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from service.identity import post_queries
from service.identity import session_queries as sessions
from service.identity.posts import keep_administered
from service.imports import known_queries, queries, roster_queries, sheet_check
from service.imports.left_behind import left_behind, values_of
from service.imports.report import State
from service.imports.units import DEEPEST, Unit
from service.kit.database import Connection, Row
from service.kit.encrypted_values import cadre_phone
from service.kit.encryption_queries import cipher_of
from service.kit.errors import Problem
from service.kit.field_cipher import FieldCipher
from service.records.queries import Stored
from service.records.queries import load as load_records
from sync_protocol.messages import Mutation
from sync_protocol.periods import local_day
from sync_protocol.records import HOUSEHOLD
from sync_protocol.texts import Text, stored

if TYPE_CHECKING:
    from service.imports.runs import Run

EDITED = Text("Somebody has edited it since.")
IN_USE = Text("Visits or problems are about it.")
WORKED = Text(
    "The person has a password, has signed in or has worked since. End the post, if it is wrong."
)
GONE = Text("It is not there any more.")
LAST = Text(
    "It is the last administrator's post there, and without one nobody gives posts and passwords."
    " Give somebody else a post as administrator, then undo the import again."
)
UNREADABLE = Text("What it was before cannot be decrypted.")
LEVELS_USED = Text("Units of these levels are there.")
# By what it is used, see `roster_queries`.
_UNIT_USED = {
    "unit": Text("Another unit lies under it."),
    "post": Text("Somebody has, or had, a post there."),
    "record": Text("Households, visits, problems or other records belong to it."),
    "app": Text("An app has its account there."),
    "calendar": Text("It has days of its own in the calendar."),
}
_PERSON_USED = {
    "erased": Text("The data of this person was erased."),
    "post": Text("The person has, or had, a post."),
    "sign-in": Text("The person has a password, has signed in or has worked since."),
    "household": Text("A household names the person."),
    "recorded": Text("The person has another staff code since."),
}

# What was undone (keys), and why the rest was left, by key.
_Outcome = tuple[list[str], dict[str, Text]]
_Step = Callable[["Run", Connection, FieldCipher, Sequence[Row]], Awaitable[_Outcome]]


async def undo(run: "Run") -> None:
    """Takes an import back, households first, units at last."""
    async with run.database.reading() as connection:
        total = await queries.count_effects(connection, run.id)
    done = undone = 0
    for kind, step in _STEPS:
        after = ("", "")
        while True:

            async def one(
                kind: str = kind, step: _Step = step, after: tuple[str, str] = after
            ) -> tuple[int, int, tuple[str, str] | None]:
                async with run.database.transaction() as connection:
                    rows = await queries.effects(connection, run.id, kind, after, run.pace.together)
                    if not rows:
                        return 0, 0, None
                    cipher = await cipher_of(connection, run.settings)
                    keys, left = await step(run, connection, cipher, rows)
                    await queries.undone(connection, run.id, kind, keys)
                    await queries.leave(
                        connection, run.id, kind, {key: stored(why) for key, why in left.items()}
                    )
                    return len(rows), len(keys), (rows[-1]["grid"], rows[-1]["key"])

            count, taken, place = await run.pace.transaction(one)
            if place is None:
                break
            after = place
            done += count
            undone += taken
            await run.tell("undoing", done, total)
    async with run.database.reading() as connection:
        run.report.left = await left_behind(connection, run)
    run.report.undone += undone
    state = State.PARTLY_UNDONE if run.report.left else State.UNDONE
    await run.end(state, "roster-import-undone")


# -------------------------------------------------------------------------------------- households


async def _households(
    run: "Run", connection: Connection, cipher: FieldCipher, rows: Sequence[Row]
) -> _Outcome:
    values = {row["key"]: values_of(run, cipher, row) for row in rows}
    back = [v["grid"] for v in values.values() if v and v.get("grid")]
    await known_queries.lock_grids(connection, {*(row["grid"] for row in rows), *back})
    records = await load_records(connection, HOUSEHOLD, [row["key"] for row in rows], cipher)
    made = [row["key"] for row in rows if row["what"] == sheet_check.NEW]
    in_use = await roster_queries.households_in_use(connection, made) if made else set()
    left: dict[str, Text] = {}
    mutations: list[Mutation] = []
    for row in rows:
        id, known, before = row["key"], records.get(row["key"]), values[row["key"]]
        if known is None:
            left[id] = GONE
        elif known.record.grid != row["grid"] or known.record.last.rev != row["rev"]:
            left[id] = EDITED
        elif before is None:
            left[id] = UNREADABLE
        elif row["what"] == sheet_check.NEW and id in in_use:
            left[id] = IN_USE
        else:
            mutations.append(_back(row, known, before))
    verdicts = await run.write(connection, mutations, run.now())
    undone = []
    restored = []
    for mutation, verdict in zip(mutations, verdicts, strict=True):
        before = values[mutation.id] or {}
        if verdict.outcome == "held":
            left[mutation.id] = Text("It could not be written: {why}", why=verdict.detail or "")
            continue
        undone.append(mutation.id)
        if "rev" in before:
            rev = verdict.rev or 0
            restored.append((mutation.id, before["grid"], before["rev"], rev))
    # It is again what an earlier import made of it, and nobody's edit; so that can be undone, too.
    await queries.follow_restored(connection, run.id, restored)
    await known_queries.drop_keys(connection, [id for id in made if id in {*undone}])
    return undone, left


def _back(row: Row, known: Stored, before: Mapping[str, Any]) -> Mutation:
    """The mutation that takes back what an import did to a household."""
    id, grid, rev = row["key"], known.record.grid, known.record.last.rev
    if row["what"] == sheet_check.NEW and not before.get("fields"):
        return Mutation(0, "household", id, grid, op="delete", base=rev)
    if before.get("deleted"):
        return Mutation(0, "household", id, grid, op="delete", base=rev)
    fields = dict(before["fields"])
    if "tags" in fields:
        wanted, there = set(fields["tags"] or ()), set(known.record.fields.get("tags") or ())
        change = {"add": sorted(wanted - there), "remove": sorted(there - wanted)}
        fields["tags"] = {name: some for name, some in change.items() if some}
        if not fields["tags"]:
            del fields["tags"]
    moved = grid if before["grid"] != grid else None
    return Mutation(0, "household", id, before["grid"], base=rev, base_grid=moved, fields=fields)


# ------------------------------------------------------------------------- posts, people and units


async def _posts(
    run: "Run", connection: Connection, cipher: FieldCipher, rows: Sequence[Row]
) -> _Outcome:
    ids = [row["key"] for row in rows]
    # In the order of whoever changes a post: nobody signs in between the look and the deletion.
    holders = await roster_queries.holders(connection, ids)
    if any(holder["role"] == "admin" for holder in holders):
        await post_queries.lock_administrators(connection)
    for code in sorted({holder["staff_code"] for holder in holders}):
        await sessions.lock_sign_ins(connection, code)
    there = await roster_queries.lock_posts(connection, ids, run.id)
    left: dict[str, Text] = {}
    gone: list[str] = []
    ended: list[str] = []
    for row in rows:
        id, values, now = row["key"], values_of(run, cipher, row), there.get(row["key"])
        if now is None:
            left[id] = GONE
        elif values is None:
            left[id] = UNREADABLE
        elif now["valid_to"] != _moment(values["after"].get("valid_to")) or (
            now["title"] != values["after"].get("title", now["title"])
            or now["valid_from"] != _moment(values["after"].get("valid_from"), now["valid_from"])
        ):
            left[id] = EDITED
        elif row["what"] != sheet_check.NEW:
            before = values["before"]
            end = _moment(before.get("valid_to"))
            if await _leaves_nobody(connection, id, now, end, run.now()):
                left[id] = LAST
            else:
                change = (id, end, before.get("title", now["title"]))
                await roster_queries.write_posts(connection, [], [change], run.now())
                ended.append(id)
        elif await _leaves_nobody(connection, id, now, now["valid_from"], run.now()):
            left[id] = LAST
        elif now["used"]:
            left[id] = WORKED
        else:
            await roster_queries.drop_posts(connection, [id])
            gone.append(id)
    return [*gone, *ended], left


async def _leaves_nobody(
    connection: Connection, id: str, post: Row, end: datetime | None, now: datetime
) -> bool:
    """Whether with another end of a post nobody would administer its unit any more."""
    if post["role"] != "admin":
        return False
    before = await post_queries.post(connection, id)
    assert before is not None
    try:
        await keep_administered(connection, before, before["valid_from"], end, now)
    except Problem:
        return True
    return False


def _moment(text: str | None, default: datetime | None = None) -> datetime | None:
    return datetime.fromisoformat(text) if text else default


async def _people(
    run: "Run", connection: Connection, cipher: FieldCipher, rows: Sequence[Row]
) -> _Outcome:
    codes = [row["key"] for row in rows]
    there = {row["staff_code"]: row for row in await known_queries.people(connection, codes)}
    made = [row["key"] for row in rows if row["what"] == sheet_check.NEW]
    in_use = await roster_queries.people_in_use(connection, made) if made else {}
    left: dict[str, Text] = {}
    gone: list[str] = []
    back: list[sheet_check.Change] = []
    for row in rows:
        code, values, now = row["key"], values_of(run, cipher, row), there.get(row["key"])
        if now is None or now["erased"]:
            left[code] = GONE
            continue
        if values is None:
            left[code] = UNREADABLE
            continue
        present = {
            "name": now["name"],
            "phone": str(cadre_phone(cipher, now)),
            "party_member": now["party_member"],
            "membership": known_queries.spans_of(now),
        }
        before, after = values["before"], values["after"]
        if any(present[name] != value for name, value in after.items()):
            left[code] = EDITED
        elif row["what"] != sheet_check.NEW:
            restored = {name: before[name] for name in after}
            back.append(sheet_check.Change(sheet_check.CHANGED, code, _NOWHERE, present, restored))
        elif code in in_use:
            left[code] = _PERSON_USED[in_use[code]]
        else:
            gone.append(code)
    await roster_queries.drop_people(connection, gone)
    if back:
        await roster_queries.write_people(connection, cipher, back, local_day(run.now()))
    return [*gone, *(change.key for change in back)], left


async def _units(
    run: "Run", connection: Connection, cipher: FieldCipher, rows: Sequence[Row]
) -> _Outcome:
    there = await roster_queries.lock_units(connection, [row["key"] for row in rows])
    left: dict[str, Text] = {}
    made: list[str] = []
    back: list[sheet_check.Change] = []
    for row in rows:
        code, values, now = row["key"], values_of(run, cipher, row), there.get(row["key"])
        if now is None:
            left[code] = GONE
            continue
        if values is None:
            left[code] = UNREADABLE
            continue
        present = now._asdict()
        before, after = values["before"], values["after"]
        if any(present[name] != value for name, value in after.items()):
            left[code] = EDITED
        elif row["what"] != sheet_check.NEW:
            restored = {name: before[name] for name in after}
            back.append(sheet_check.Change(sheet_check.CHANGED, code, _NOWHERE, present, restored))
        else:
            made.append(code)
    gone: list[str] = []
    # Those at the bottom first, so that nothing lies under a unit any more when its turn comes.
    depths = {code: _depth(code, there) for code in made}
    for depth in sorted({*depths.values()}, reverse=True):
        some = [code for code in made if depths[code] == depth]
        in_use = await roster_queries.units_in_use(connection, some)
        left |= {code: _UNIT_USED[used] for code, used in in_use.items()}
        await roster_queries.drop_units(connection, [code for code in some if code not in in_use])
        gone += [code for code in some if code not in in_use]
    await roster_queries.write_units(connection, back)
    return [*gone, *(change.key for change in back)], left


def _depth(code: str, units: Mapping[str, Unit]) -> int:
    """How many of these units lie above one of them."""
    depth, parent = 0, units[code].parent
    while parent is not None and parent in units and depth < DEEPEST:
        depth, parent = depth + 1, units[parent].parent
    return depth


async def _levels(
    run: "Run", connection: Connection, cipher: FieldCipher, rows: Sequence[Row]
) -> _Outcome:
    [row] = rows
    values = values_of(run, cipher, row)
    if values is None:
        return [], {row["key"]: UNREADABLE}
    before, after = values["before"]["levels"], values["after"]["levels"]
    if await roster_queries.levels(connection) != after:
        return [], {row["key"]: EDITED}
    others = {level["slug"] for level in before} != {level["slug"] for level in after}
    if others and await roster_queries.has_units(connection):
        return [], {row["key"]: LEVELS_USED}
    await roster_queries.write_levels(connection, before)
    return [row["key"]], {}


_NOWHERE: Any = ("", "", 0)
_STEPS: Sequence[tuple[str, _Step]] = (
    ("household", _households),
    ("post", _posts),
    ("person", _people),
    ("unit", _units),
    ("levels", _levels),
)
