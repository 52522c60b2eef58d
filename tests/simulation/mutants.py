"""Ways to break the implementation on purpose, to show that the simulator would notice: a proof
that cannot fail proves nothing.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg
import httpx
import pytest

from service.http import ids
from service.identity import rights
from service.kit.errors import Problem
from service.kit.outcomes import Outcome
from service.kit.sql import Cte
from service.sync import exchange, feed_views, pull
from service.tallies.deltas import TallyDeltas
from service.writes import held_queries, judge, log_queries, prefetch, queries
from simulator.troubles import LOST_CONNECTIONS, STALLS, TWO_SERVERS
from sync_protocol import clock
from sync_protocol.device import Device, Unreachable
from sync_protocol.ids import new_uuid7
from sync_protocol.merge import Edit

_NOTHING = Cte("nothing", "SELECT 1", ())

batch: Any = importlib.import_module("service.writes.unit_of_work")

Patch = pytest.MonkeyPatch
Break = Callable[[Patch], None]


def skip_the_counter_lock(patch: Patch) -> None:
    """Reads the heads without locking them."""

    for name in ("_push_sql", "_find_sql"):
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
    plain = exchange.Exchanges._take

    async def take(self: Any, connection: Any, one: Any) -> None:
        one.state.acked = min(one.state.acked, one.request.mutations[0].seq - 1)
        await plain(self, connection, one)

    patch.setattr(exchange.Exchanges, "_take", take)


def ignore_base(patch: Patch) -> None:
    """Takes every edit for one that saw the newest state."""
    plain = batch.merge

    def merge(kind: Any, record: Any, edit: Edit, rev: int) -> Any:
        edit.base, edit.rebased = 2**60, False
        return plain(kind, record, edit, rev)

    patch.setattr(batch, "merge", merge)


def do_not_correct_clocks(patch: Patch) -> None:
    """Believes every phone's clock."""
    patch.setattr(clock, "effective_offset", lambda *_: 0)


def drop_held(patch: Patch) -> None:
    """Throws away what cannot be applied."""

    async def nothing(*_: Any) -> None:
        return None

    patch.setattr(held_queries, "write_held", nothing)


def drop_conflicts(patch: Patch) -> None:
    """Throws away what lost."""

    patch.setattr(queries, "insert_conflicts", lambda *_: _NOTHING)


def never_echo(patch: Patch) -> None:
    """Never sends a device what became of its own merged or corrected records."""
    for module, name in ((batch.records, "columns_of"), (batch, "_columns_of")):
        plain = getattr(module, name)

        def silent(*given: Any, plain: Any = plain) -> Any:
            columns = plain(*given)
            return columns | {"echo": [False] * len(columns["id"])}

        patch.setattr(module, name, silent)


def run_the_cursor_ahead(patch: Patch) -> None:
    """Takes a full page for the whole grid."""
    plain = pull._advance

    def advance(positions: Any, heads: Any, behind: Any, stopped: Any, rows: Any) -> None:
        plain(positions, heads, behind, None, rows)

    patch.setattr(pull, "_advance", advance)


def keep_dropped_grids(patch: Patch) -> None:
    """Never names the grids that left a scope."""
    plain = pull.PullPlan.to_page

    def end(*args: Any, **named: Any) -> Any:
        page = plain(*args, **named)
        page.dropped = []
        return page

    patch.setattr(pull.PullPlan, "to_page", end)


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

    patch.setattr(exchange, "_is_ahead", never)


def judge_rights_at_the_sync(patch: Patch) -> None:
    """Asks whether a cadre may write now, not whether the cadre might then."""
    plain = rights.writing_posts

    def writing_posts(posts: Any, *asked: Any) -> Any:
        return plain([post for post in posts if post.valid_to is None], *asked)

    patch.setattr(judge, "writing_posts", writing_posts)


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

    patch.setattr(queries, "insert_moves", lambda *_: _NOTHING)


def _without_caches(patch: Patch) -> None:
    """The statements of the feed are made anew."""
    for name in ("_feed_sql", "_count_sql", "_copies_sql"):
        patch.setattr(pull, name, getattr(pull, name).__wrapped__)


def show_supervisors_every_field(patch: Patch) -> None:
    """Gives every phone the personal fields and exact places."""
    _without_caches(patch)
    patch.setattr(pull, "absent_on_devices", lambda *_: frozenset())
    patch.setattr(pull, "goes_to_devices", lambda *_: True)


def show_contact_members_every_record(patch: Patch) -> None:
    """Gives whom a part is shown the whole grid."""
    _without_caches(patch)
    plain = pull.shown_in
    patch.setattr(pull, "shown_in", lambda *given: f"({plain(*given)} OR true)")


def forget_assignments(patch: Patch) -> None:
    """Does not show a problem where it was assigned."""
    patch.setattr(prefetch.Snapshot, "assigned_to", lambda *_: {})


def keep_what_a_former_view_showed(patch: Patch) -> None:
    """Sends nothing anew when a post, a tie or an assignment changes what is shown."""
    plain = feed_views.feeds_for

    async def feeds_for(*given: Any) -> Any:
        feeds, reader = await plain(*given)
        return {grid: one._replace(version="") for grid, one in feeds.items()}, reader

    patch.setattr(feed_views, "feeds_for", feeds_for)


def believe_every_late_stamp(patch: Patch) -> None:
    """Applies what comes long after a post's end."""
    patch.setattr(judge.Judge, "_is_timely", lambda *_: True)


async def _set_acknowledged(exchanges: Any, acknowledged: Sequence[tuple[str, int]]) -> None:
    async with exchanges._database.syncing() as connection:
        await connection.executemany("UPDATE device SET acked_seq = $2 WHERE id = $1", acknowledged)


def acknowledge_what_a_limit_kept_out(patch: Patch) -> None:
    """Goes on without the push whose wait for a lock, or statement, was ended by a limit, and
    acknowledges its numbers.
    """
    plain = exchange.Exchanges._push

    async def push(self: Any, exchanges: Any) -> None:
        try:
            await plain(self, exchanges)
        except Problem as problem:
            if not isinstance(
                problem.__cause__, (asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
            ):
                raise
            await self._stand(exchanges)
            for one in exchanges:
                one.acked = max(one.acked, one.request.mutations[-1].seq)
            await _set_acknowledged(self, [(one.device, one.acked) for one in exchanges])

    patch.setattr(exchange.Exchanges, "_push", push)


def drop_what_may_not_be_kept(patch: Patch) -> None:
    """A phone that is told that it is not known whether a push was taken in throws it away."""
    plain = Device._exchange_once
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
                self.store._db.execute("DELETE FROM outbox WHERE seq > ?", (self.store.acked,))
            raise

    patch.setattr(httpx.AsyncClient, "request", request)
    patch.setattr(Device, "_exchange_once", exchange_once)


def forget_the_number_after_a_lost_commit(patch: Patch) -> None:
    """Says that it is not known what became of a push, and puts the acknowledged number back to
    where it was before.
    """
    plain = exchange.Exchanges._push

    async def push(self: Any, exchanges: Any) -> None:
        try:
            await plain(self, exchanges)
        except Problem as problem:
            if isinstance(problem.__cause__, asyncpg.ConnectionDoesNotExistError):
                await _set_acknowledged(
                    self, [(one.device, one.state.acked) for one in exchanges if one.look.devices]
                )
            raise

    patch.setattr(exchange.Exchanges, "_push", push)


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
    plain, answer = exchange.Exchanges._take, exchange.Exchanges.answer

    async def take(self: Any, connection: Any, one: Any) -> None:
        one.state.acked = vars(self)["kept"].get(one.device, one.state.acked)
        await plain(self, connection, one)
        vars(self)["taken"][one.device] = one.acked

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

    patch.setattr(exchange.Exchanges, "_take", take)
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
