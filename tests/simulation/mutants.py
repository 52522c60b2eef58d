"""Ways to break the implementation on purpose, to show that the simulator would notice: a proof
that cannot fail proves nothing.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from service.http import ids
from service.identity import rights
from service.kit.errors import Problem
from service.kit.outcomes import Outcome
from service.sync import device_state, exchange, feed_sql, feed_views, pull, pull_plan
from service.tallies.deltas import TallyDeltas
from service.writes import (
    author_rules,
    held_queries,
    judge,
    log_queries,
    prefetch,
    queries,
    snapshot,
    validities,
    visit_columns,
)
from service.writes.interface import NewRows, Rows
from simulator.devices import damage
from simulator.troubles import LOST_CONNECTIONS, STALLS, TWO_SERVERS
from sync_protocol import clock
from sync_protocol.device import Device, Unreachable
from sync_protocol.ids import new_uuid7
from sync_protocol.record_state import Edit


async def _nothing(*_: Any) -> None:
    """Writes nothing."""


push: Any = importlib.import_module("service.sync.push")
merged: Any = importlib.import_module("service.writes.merged")

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


def skip_the_counter_lock(patch: Patch) -> None:
    """Reads the heads without locking them."""

    for name in ("push_sql", "grids_sql"):
        plain = getattr(prefetch, name)
        patch.setattr(
            prefetch,
            name,
            lambda kinds, plain=plain: plain(kinds).replace(
                "ORDER BY grid FOR NO KEY UPDATE", "ORDER BY grid"
            ),
        )


def accept_a_repeated_seq(patch: Patch) -> None:
    """Applies again what was applied before."""
    plain = push._readied

    async def readied(connection: Any, state: Any, settings: Any) -> Any:
        state.device.acked = min(state.device.acked, state.request.message.mutations[0].seq - 1)
        return await plain(connection, state, settings)

    patch.setattr(push, "_readied", readied)


def ignore_base(patch: Patch) -> None:
    """Takes every edit for one that saw the newest state."""
    plain = merged.merge

    def merge(kind: Any, record: Any, edit: Edit, rev: int) -> Any:
        edit.base, edit.rebased = 2**60, False
        return plain(kind, record, edit, rev)

    patch.setattr(merged, "merge", merge)


def do_not_correct_clocks(patch: Patch) -> None:
    """Believes every phone's clock."""
    patch.setattr(clock, "effective_offset", lambda *_: 0)


def drop_held(patch: Patch) -> None:
    """Throws away what cannot be applied."""
    patch.setattr(held_queries, "write_held", _nothing)


def drop_conflicts(patch: Patch) -> None:
    """Throws away what lost."""

    patch.setattr(queries, "insert_conflicts", _nothing)


def never_echo(patch: Patch) -> None:
    """Never sends a device what became of its own merged or corrected records."""
    plain = merged.records.columns_of

    def columns_of(*given: Any) -> Any:
        columns = plain(*given)
        return columns | {"echo": [False] * len(columns["id"])}

    patch.setattr(merged.records, "columns_of", columns_of)
    plain_rows = visit_columns.AcceptedVisits.rows

    def rows(self: Any, cipher: Any) -> Any:
        [(kind, columns)] = plain_rows(self, cipher).new
        return Rows([NewRows(kind, {**columns, "echo": [False] * len(columns["id"])})])

    patch.setattr(visit_columns.AcceptedVisits, "rows", rows)


def run_the_cursor_ahead(patch: Patch) -> None:
    """Takes a full page for the whole grid."""
    plain = pull._advance

    def advance(positions: Any, heads: Any, behind: Any, stopped: Any, rows: Any) -> None:
        plain(positions, heads, behind, None, rows)

    patch.setattr(pull, "_advance", advance)


def keep_dropped_grids(patch: Patch) -> None:
    """Never names the grids that left a scope."""
    plain = pull_plan.PullPlan.to_page

    def end(*args: Any, **named: Any) -> Any:
        page = plain(*args, **named)
        page.dropped = []
        return page

    patch.setattr(pull_plan.PullPlan, "to_page", end)


def never_take_credit_back(patch: Patch) -> None:
    """Adds to the tally and never takes away."""
    plain = TallyDeltas._case

    def case(self: TallyDeltas, facts: Any, sign: int) -> None:
        if sign > 0:
            plain(self, facts, sign)

    patch.setattr(TallyDeltas, "_case", case)


def keep_the_epoch(patch: Patch) -> None:
    """Does not notice that the server was restored."""

    async def never(*_: Any) -> bool:
        return False

    patch.setattr(device_state, "_is_ahead", never)


def judge_rights_at_the_sync(patch: Patch) -> None:
    """Asks whether a cadre may write now, not whether the cadre might then."""
    plain = rights.writing_posts

    def writing_posts(posts: Any, *asked: Any) -> Any:
        return plain([post for post in posts if post.valid_to is None], *asked)

    patch.setattr(validities, "writing_posts", writing_posts)


def take_forked_devices_for_honest(patch: Patch) -> None:
    """Compares no content when a seq comes again."""

    async def is_content(*_: Any) -> bool:
        return True

    patch.setattr(log_queries, "is_content", is_content)


def trust_new_visits(patch: Patch) -> None:
    """Takes in pushes of new visits without a look at rights and references."""
    patch.setattr(judge.Judge, "may_have_flaw", lambda *_: False)


def forget_departures(patch: Patch) -> None:
    """Does not tell a grid that a record has left it."""

    patch.setattr(queries, "insert_moves", _nothing)


def _without_caches(patch: Patch) -> None:
    """The statements of the feed are made anew."""
    for name in ("feed_sql", "count_sql", "copies_sql"):
        patch.setattr(pull, name, getattr(pull, name).__wrapped__)


def show_supervisors_every_field(patch: Patch) -> None:
    """Gives every phone the personal fields and exact places."""
    _without_caches(patch)
    patch.setattr(feed_sql, "absent_on_devices", lambda *_: frozenset())


def show_contact_members_every_record(patch: Patch) -> None:
    """Gives whom a part is shown the whole grid."""
    _without_caches(patch)
    plain = feed_sql.shown_in
    patch.setattr(feed_sql, "shown_in", lambda *given: f"({plain(*given)} OR true)")


def forget_assignments(patch: Patch) -> None:
    """Does not show a problem where it was assigned."""
    patch.setattr(snapshot.Snapshot, "assigned_to", lambda *_: {})


def keep_what_a_former_view_showed(patch: Patch) -> None:
    """Sends nothing anew when a post, a tie or an assignment changes what is shown."""
    plain = feed_views.feeds_for

    async def feeds_for(*given: Any) -> Any:
        feeds, reader = await plain(*given)
        return {grid: one._replace(version="") for grid, one in feeds.items()}, reader

    patch.setattr(feed_views, "feeds_for", feeds_for)


def believe_every_late_stamp(patch: Patch) -> None:
    """Applies what comes long after a post's end."""
    patch.setattr(author_rules.AuthorRules, "_is_timely", lambda *_: True)


async def _set_acknowledged(exchanges: Any, acknowledged: Sequence[tuple[str, int]]) -> None:
    async with exchanges._database.syncing() as connection:
        await connection.executemany("UPDATE device SET acked_seq = $2 WHERE id = $1", acknowledged)


def acknowledge_what_a_limit_kept_out(patch: Patch) -> None:
    """Goes on without the push whose wait for a lock, or statement, was ended by a limit, and
    acknowledges its numbers.
    """
    plain = exchange.Exchanges._push

    async def go_on(self: Any, exchanges: Any) -> None:
        try:
            await plain(self, exchanges)
        except Problem as problem:
            if not isinstance(
                problem.__cause__, (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
            ):
                raise
            await self._read_only(exchanges)
            for one in exchanges:
                acked = max(one.result.acked, one.request.message.mutations[-1].seq)
                one.result = msgspec.structs.replace(one.result, acked=acked)
            await _set_acknowledged(
                self, [(one.request.device, one.result.acked) for one in exchanges]
            )

    patch.setattr(exchange.Exchanges, "_push", go_on)


def drop_what_may_not_be_kept(patch: Patch) -> None:
    """A phone that is told that it is not known whether a push was taken in throws it away."""
    plain = Device.exchange_once
    send = httpx.AsyncClient.request
    is_unknown = False

    async def request(self: Any, *given: Any, **named: Any) -> httpx.Response:
        nonlocal is_unknown
        response = await send(self, *given, **named)
        is_unknown = (
            response.status_code == 503 and "not known whether what was sent" in response.text
        )
        return response

    async def exchange_once(self: Any, report: Any) -> bool:
        nonlocal is_unknown
        try:
            return await plain(self, report)
        except Unreachable:
            if is_unknown:
                is_unknown = False
                damage(self.store.path, "DELETE FROM outbox WHERE seq > ?", self.store.acked)
            raise

    patch.setattr(httpx.AsyncClient, "request", request)
    patch.setattr(Device, "exchange_once", exchange_once)


def forget_the_number_after_a_lost_commit(patch: Patch) -> None:
    """Says that it is not known what became of a push, and puts the acknowledged number back to
    where it was before.
    """
    plain, plain_read = exchange.Exchanges._push, push.read_states
    before: dict[str, int] = {}

    async def read_states(*given: Any) -> Any:
        states = await plain_read(*given)
        before.update((state.request.device, state.device.acked) for state in states)
        return states

    async def put_back(self: Any, exchanges: Any) -> None:
        devices = [one.request.device for one in exchanges]
        for device in devices:
            before.pop(device, None)
        try:
            await plain(self, exchanges)
        except Problem as problem:
            if isinstance(problem.__cause__, asyncpg.ConnectionDoesNotExistError):
                known = [(device, before[device]) for device in devices if device in before]
                await _set_acknowledged(self, known)
            raise

    patch.setattr(push, "read_states", read_states)
    patch.setattr(exchange.Exchanges, "_push", put_back)


def make_ids_without_the_key(patch: Patch) -> None:
    """Gives the record of a request with an Idempotency-Key an id of its own: then only the kept
    answer, which is stored outside the transaction of the record, stands against a second one.
    """
    patch.setattr(ids, "fresh_id", lambda request, now: str(new_uuid7(now)))
    patch.setattr(importlib.import_module("service.problems.routes"), "fresh_id", ids.fresh_id)


def claim_that_nothing_was_changed(patch: Patch) -> None:
    """Says after a lost COMMIT that nothing was changed."""
    patch.setattr(Outcome, "note_doubt", lambda _: None)


def keep_acknowledged_numbers_in_the_process(patch: Patch) -> None:
    """Looks a device's acknowledged number up once, and then keeps it in the process; not beyond a
    push that failed, nor while another of the device is under way.
    """
    plain, answer = push._readied, exchange.Exchanges.answer
    plain_push = exchange.Exchanges._push
    process: ContextVar[Any] = ContextVar("process")

    async def in_process(self: Any, exchanges: Any) -> None:
        process.set(self)
        await plain_push(self, exchanges)

    async def readied(connection: Any, state: Any, settings: Any) -> Any:
        device, of_process = state.request.device, vars(process.get())
        state.device.acked = of_process["kept"].get(device, state.device.acked)
        found = await plain(connection, state, settings)
        if not isinstance(found, Problem):
            of_process["taken"][device] = found.acked
        return found

    async def keep(self: Any, caller: Any, request: Any, now: Any) -> bytes:
        kept, taken, under_way = (
            vars(self).setdefault(name, Counter()) for name in ("kept", "taken", "under_way")
        )
        if not request.mutations or under_way[caller.device]:
            kept.pop(caller.device, None)
        under_way[caller.device] += 1
        try:
            done = await answer(self, caller, request, now)
        except BaseException:
            kept.pop(caller.device, None)
            raise
        finally:
            under_way[caller.device] -= 1
        if request.mutations:
            kept[caller.device] = max(kept[caller.device], taken[caller.device])
        return done

    patch.setattr(push, "_readied", readied)
    patch.setattr(exchange.Exchanges, "_push", in_process)
    patch.setattr(exchange.Exchanges, "answer", keep)


# Which fault of the database alone shows a breakage: without it nobody notices.
SHOWN_BY = {
    "acknowledge_what_a_limit_kept_out": STALLS,
    "drop_what_may_not_be_kept": LOST_CONNECTIONS,
    "forget_the_number_after_a_lost_commit": LOST_CONNECTIONS,
    "make_ids_without_the_key": LOST_CONNECTIONS,
    "claim_that_nothing_was_changed": LOST_CONNECTIONS,
    "keep_acknowledged_numbers_in_the_process": TWO_SERVERS,
}

BREAKAGES: dict[str, Break] = {
    action.__name__: action
    for action in (
        skip_the_counter_lock,
        accept_a_repeated_seq,
        ignore_base,
        do_not_correct_clocks,
        drop_held,
        drop_conflicts,
        never_echo,
        run_the_cursor_ahead,
        keep_dropped_grids,
        never_take_credit_back,
        keep_the_epoch,
        judge_rights_at_the_sync,
        take_forked_devices_for_honest,
        trust_new_visits,
        forget_departures,
        show_supervisors_every_field,
        show_contact_members_every_record,
        forget_assignments,
        keep_what_a_former_view_showed,
        believe_every_late_stamp,
        acknowledge_what_a_limit_kept_out,
        drop_what_may_not_be_kept,
        forget_the_number_after_a_lost_commit,
        make_ids_without_the_key,
        claim_that_nothing_was_changed,
        keep_acknowledged_numbers_in_the_process,
    )
}
