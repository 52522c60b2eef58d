"""Together or one by one, by the quick way of new visits or by the way of all others: verdicts and
every row are the same.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from service.kit.database import Database, open_pool
from service.kit.settings import Settings
from service.sync.exchange import Exchange, Exchanges
from service.sync.push import ExchangeResult
from service.sync.requests import ExchangeRequest, PhoneCaller
from service.tallies import deltas
from service.tallies.recount import differences
from service.writes.interface import Parsed, ParsedMutations
from service.writes.mutations import parse_all
from service.writes.visit_columns import VisitColumns, parse_visit_columns
from simulator.places import NOW
from sync_protocol.clock import make_stamp
from sync_protocol.ids import household_id, uuid7, weekly_analysis_id
from sync_protocol.messages import Mutation, SyncRequest, Verdict
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import to_ms
from sync_protocol.records import KINDS, PERSONAL
from sync_protocol.vocabulary import ACTIONS, DUTIES, SEVERITIES
from tests.conftest import cloned
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER

OTHER_WORKER = f"W{OTHER_GRID}-1"
ROUNDS = 5
# Columns that differ for a reason: ids made at random, moments of the database's own, values
# encrypted with a fresh nonce.
RANDOM = {
    "conflict": {"id", "kept", "lost"},
    "held": {"id", "body", "detail"},
    "mutation": {"verdict"},
    **{kind: {"extra", *PERSONAL.get(kind, ())} for kind in KINDS},
}
TABLES = (
    *KINDS,
    "mutation",
    "conflict",
    "held",
    "departure",
    "counter",
    "case_file",
    "tally",
    "week_tally",
    "village_week_tally",
    "case_tally",
    "cadre_tally",
    "grid_tally",
    "household_tally",
    "hours_tally",
    "contact_change",
    "visited_household",
    "device",
)


# What else a visit may hold, with all that a line of COPY, an array or JSON must escape.
_MORE: dict[str, tuple[Any, ...]] = {
    "content": ("", "a\tb\nc\rd", "\\N", "\\.", 'C:\\n "quoted", {braced}', "ᠪᠣᠭᠣᠳ 🐑"),
    "people_met": ({"add": ['"', "\\", "a,b", "NULL", "{}"]}, {"add": []}),
    "location": ({"lat": 40, "lon": 109.8, "accuracy": 7}, {"lat": -0.0, "lon": 109.84}),
    "photos": ({"add": ["9f" * 32]},),
}
_ODD: dict[str, tuple[Any, ...]] = {
    "content": (" 户主在家 ", None),
    "people_met": ({"add": ["王"], "remove": ["李"]},),
    "location": ({"lat": 40.5, "lon": 109.84000000049},),
    "weather": ("sunny", {"deep": ['\\"', None]}, 7),
}


_SORTS = (
    *("visit", "visit", "odd visit", "again", "household", "problem", "step", "weekly"),
    *("edit", "edit", "edit", "delete", "move", "bad"),
)
_NEARLY_ONLY_VISITS = (*["visit"] * 30, "odd visit", "again", "bad")


class Phone:
    """One device of the mixture."""

    def __init__(self, staff_code: str, grids: tuple[str, ...], rng: random.Random) -> None:
        self.staff_code = staff_code
        self.grids = grids
        self.device = uuid7(0, rng)
        self.seq = 0
        self.last: list[Mutation] = []


class Mixture:
    """Made-up requests of four phones, two of them one cadre's: new records, edits of anybody's,
    and everything that can be wrong.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.phones = [
            Phone(WORKER, (GRID,), self.rng),
            Phone(SECRETARY, (GRID, OTHER_GRID), self.rng),
            Phone(SECRETARY, (GRID, OTHER_GRID), self.rng),
            Phone(OTHER_WORKER, (OTHER_GRID,), self.rng),
        ]
        self.newest: Mutation | None = None
        self.known: list[tuple[str, str, str, int]] = [
            ("household", household_id(grid, 1), grid, 0) for grid in (GRID, OTHER_GRID)
        ]

    def requests(self, now: Any) -> list[tuple[Phone, SyncRequest]]:
        """What each phone hands in this time."""
        made = []
        for phone in self.rng.sample(self.phones, len(self.phones)):
            again = phone.last[-2:] if self.rng.random() < 0.3 else []
            sorts = self.rng.choice((_SORTS, _NEARLY_ONLY_VISITS))
            fresh = [
                self.mutation(phone, now, self.rng.choice(sorts))
                for _ in range(self.rng.randint(1, 8))
            ]
            phone.last = fresh
            sent_at = now + timedelta(seconds=self.rng.choice((0, 0, 0, -3_600, 600)))
            made.append((phone, SyncRequest(1, sent_at, None, 500, 0, [*again, *fresh])))
        return made

    def mutation(self, phone: Phone, now: Any, sort: str) -> Mutation:
        """One mutation of a sort, good or bad."""
        rng = self.rng
        phone.seq += 1
        grid = rng.choice(phone.grids)
        at = canonical_moment(now - timedelta(minutes=rng.randrange(20_000)))
        mutation = Mutation(
            phone.seq,
            "visit",
            uuid7(to_ms(now), rng),
            grid,
            stamp=make_stamp(to_ms(now), phone.seq),
        )
        match sort:
            case "visit" | "odd visit":
                house = household_id(grid, rng.randint(1, 3) if rng.random() < 0.95 else 99)
                mutation.fields = {
                    "visited_at": at,
                    "household_id": house,
                    "duties": {"add": rng.sample(tuple(DUTIES), 2)},
                }
                for name in rng.sample(tuple(_MORE), rng.choice((0, 1, 2, 4))):
                    mutation.fields[name] = rng.choice(_MORE[name])
                if sort == "odd visit":
                    name = rng.choice(tuple(_ODD))
                    mutation.fields[name] = rng.choice(_ODD[name])
                self.newest = mutation
            case "household":
                mutation.kind, mutation.fields = (
                    "household",
                    {"head_name": f"户{phone.seq}", "phone": "10012345678", "members": 3},
                )
            case "problem":
                fields = {
                    "duty": rng.choice(tuple(DUTIES)),
                    "title": "路灯不亮",
                    "raised_at": at,
                    "severity": rng.choice(tuple(SEVERITIES)),
                }
                mutation.kind, mutation.fields = "problem", fields
                if (
                    self.newest is not None and rng.random() < 0.5
                ):  # it may come with the visit, or before it
                    fields["visit_id"] = self.newest.id
            case "again":
                if self.newest is not None:
                    mutation.id, mutation.grid = self.newest.id, self.newest.grid
                    mutation.fields = {"content": "再写一句", "visited_at": at}
            case "step":
                problems = [
                    (id, where)
                    for kind, id, where, _ in self.known
                    if kind == "problem" and where in phone.grids
                ]
                if problems:
                    problem, mutation.grid = rng.choice(problems)
                    mutation.kind = "step"
                    mutation.fields = {
                        "problem_id": problem,
                        "action": rng.choice(tuple(ACTIONS)),
                        "at": at,
                    }
            case "weekly":
                mutation.kind, mutation.id = "weekly_analysis", weekly_analysis_id(grid, "2026-W46")
                mutation.fields = {"week": "2026-W46", "situation": f"第{phone.seq}稿"}
            case "edit" | "delete" | "move" as what:
                kind, id, where, rev = rng.choice(self.known)
                mutation.kind, mutation.id, mutation.grid, mutation.base = (
                    kind,
                    id,
                    where,
                    rng.choice((0, rev, rev)),
                )
                if what == "delete":
                    mutation.op = "delete"
                elif what == "move" and kind == "household":
                    mutation.base_grid, mutation.grid = where, rng.choice((GRID, OTHER_GRID))
                else:
                    values = {
                        "visit": "content",
                        "household": "note",
                        "problem": "title",
                        "step": "note",
                        "weekly_analysis": "causes",
                    }
                    mutation.fields = {values[kind]: f"改{rng.randint(1, 3)}"}
                    if kind == "visit" and rng.random() < 0.5:
                        mutation.fields = {
                            "visited_at": at,
                            "household_id": household_id(where, rng.randint(1, 3)),
                        }
                    if kind == "household" and rng.random() < 0.5:
                        mutation.fields = {"contact_member": rng.choice((SECRETARY, None))}
            case _:
                bad: dict[str, Any] = rng.choice(
                    (
                        {"kind": "telegram"},
                        {"grid": FAR_GRID},
                        {"grid": "000000000000000"},
                        {"fields": {"visited_at": "gestern"}},
                        {"fields": {"visited_at": at, "household_id": uuid7(1, rng)}},
                        {"base": 7},
                        {"id": "no uuid", "flaw": "id must be a UUID in lower case"},
                    )
                )
                mutation.fields = (
                    {"visited_at": at} if "base" not in bad else {"content": "nirgends"}
                )
                for name, value in bad.items():
                    setattr(mutation, name, value)
        return mutation

    def learn(self, request: SyncRequest, verdicts: Sequence[Verdict]) -> None:
        """Remembers what was stored, so that later edits can name it."""
        for mutation, verdict in zip(request.mutations, verdicts, strict=True):
            if verdict.outcome in ("applied", "merged") and verdict.rev is not None:
                self.known = [item for item in self.known if item[1] != mutation.id]
                self.known.append((mutation.kind, mutation.id, mutation.grid, verdict.rev))


@asynccontextmanager
async def side(server: str, template: str) -> AsyncIterator[Exchanges]:
    """Exchanges over a database of their own."""
    async with cloned(server, template) as url:
        pool = await open_pool(url, 2)
        try:
            yield Exchanges(Database(pool), Settings(database_url=url, households_per_grid=3))
        finally:
            await pool.close()


def plain(verdicts: Sequence[Verdict]) -> Any:
    """Verdicts without the ids of conflicts, which are made at random."""
    shown: Any = msgspec.to_builtins(verdicts, enc_hook=str)
    for verdict in shown:
        for conflict in verdict.get("conflicts") or ():
            conflict.pop("id")
    return shown


async def rows(exchanges: Exchanges, table: str) -> list[Any]:
    """Everything in a table, in an order that does not depend on when it was written."""
    found = await exchanges._database.pool.fetch(f"SELECT * FROM {table}")
    left_out = RANDOM.get(table, set())
    if table.endswith(
        "tally"
    ):  # what was counted and taken back leaves a row of noughts, unless both came together
        found = [
            row for row in found if any(value for value in row.values() if isinstance(value, int))
        ]
    return sorted(
        repr([(name, value) for name, value in row.items() if name not in left_out])
        for row in found
    )


@pytest.mark.parametrize("seed", range(8))
async def test_together_or_alone_quick_or_slow_is_the_same(
    seed: int, server: str, template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = Mixture(seed)
    outcomes: Counter[str] = Counter()
    now = NOW
    quick = 0
    new_visits = deltas.TallyDeltas.new_visits

    def counted(
        self: deltas.TallyDeltas, by: str, visits: Iterable[Any], received_at: datetime
    ) -> None:
        nonlocal quick
        found = [*visits]
        quick += len(found)
        new_visits(self, by, found, received_at)

    monkeypatch.setattr(deltas.TallyDeltas, "new_visits", counted)
    async with (
        side(server, template) as together,
        side(server, template) as alone,
        side(server, template) as slow,
    ):
        for _ in range(ROUNDS):
            now += timedelta(minutes=5)
            requests = mixture.requests(now)
            one = [exchange_of(phone, request, now) for phone, request in requests]
            await together._push(one)
            other = [exchange_of(phone, request, now) for phone, request in requests]
            for exchange in other:
                await alone._push([exchange])
            third = [
                exchange_of(phone, request, now, is_quick=False) for phone, request in requests
            ]
            before = quick
            await slow._push(third)
            assert quick == before
            for each in zip(one, other, third, strict=True):
                assert [exchange.error for exchange in each] == [None] * 3
                ours, *others = map(result_of, each)
                assert [plain(theirs.verdicts) for theirs in others] == [plain(ours.verdicts)] * 2
                assert [theirs.acked for theirs in others] == [ours.acked] * 2
                mixture.learn(each[0].request.message, ours.verdicts)
                outcomes.update(verdict.outcome for verdict in ours.verdicts)
        async with together._database.reading() as connection:
            assert await differences(connection, together._settings) == []
        for table in TABLES:
            assert await rows(together, table) == await rows(alone, table), table
            assert await rows(together, table) == await rows(slow, table), table
    assert quick > 0
    assert {"applied", "merged", "held", "duplicate"} <= outcomes.keys()


def exchange_of(
    phone: Phone, request: SyncRequest, now: datetime, is_quick: bool = True
) -> Exchange:
    """A phone's exchange; without `is_quick` new visits go the way of all others."""
    parsed: Parsed | None = parse_visit_columns(request.mutations) if is_quick else None
    parsed = parsed or ParsedMutations(parse_all(request.mutations))
    caller = PhoneCaller(phone.device, phone.staff_code)
    return Exchange(ExchangeRequest.of(caller, request, now, parsed))


def result_of(exchange: Exchange) -> ExchangeResult:
    """What came of an exchange that was not refused."""
    assert exchange.result is not None
    return exchange.result


class Sender:
    """A phone that hands in nothing but new visits, which go the quick way."""

    def __init__(self, exchanges: Exchanges, staff_code: str) -> None:
        self.exchanges = exchanges
        self.rng = random.Random(staff_code)
        self.phone = Phone(staff_code, (), self.rng)
        self.now = NOW

    def visit(self, grid: str, id: str = "", house: int = 1, **fields: Any) -> Mutation:
        """One new visit, in a household of the grid."""
        self.phone.seq += 1
        seq, at = self.phone.seq, self.now - timedelta(hours=1)
        known = {
            "visited_at": canonical_moment(at),
            "household_id": household_id(grid, house),
            "duties": {"add": ["emergency"]},
        }
        id = id or uuid7(to_ms(self.now) + seq, self.rng)
        return Mutation(
            seq, "visit", id, grid, stamp=make_stamp(to_ms(self.now), seq), fields=known | fields
        )

    def exchange(self, *mutations: Mutation) -> Exchange:
        """One exchange with these."""
        self.now += timedelta(minutes=1)
        return exchange_of(
            self.phone, SyncRequest(1, self.now, None, 500, 0, list(mutations)), self.now
        )

    async def send(self, *mutations: Mutation) -> list[Verdict]:
        """Hands them in alone."""
        exchange = self.exchange(*mutations)
        await self.exchanges._push([exchange])
        return [*result_of(exchange).verdicts]


async def test_a_visit_that_somebody_else_made_merges_though_it_comes_as_new(
    server: str, template: str
) -> None:
    async with side(server, template) as exchanges:
        one, two, three = (
            Sender(exchanges, WORKER),
            Sender(exchanges, SECRETARY),
            Sender(exchanges, OTHER_WORKER),
        )
        first = one.visit(GRID, content="甲")
        assert [verdict.outcome for verdict in await one.send(first, one.visit(GRID))] == [
            "applied",
            "applied",
        ]
        together = [
            two.exchange(two.visit(GRID), two.visit(GRID, first.id, content="乙")),
            three.exchange(three.visit(OTHER_GRID)),
        ]
        assert all(isinstance(exchange.request.parsed, VisitColumns) for exchange in together)
        await exchanges._push(together)
        assert [
            [verdict.outcome for verdict in result_of(exchange).verdicts] for exchange in together
        ] == [
            ["applied", "merged"],
            ["applied"],
        ]
        (row,) = await exchanges._database.pool.fetch(
            "SELECT content FROM visit WHERE id = $1", first.id
        )
        assert row["content"] == "乙"  # the later one; the other is kept as a conflict
        async with exchanges._database.reading() as connection:
            assert await differences(connection, exchanges._settings) == []


@pytest.mark.parametrize("house", [1, 99])
async def test_a_visit_of_another_grid_is_found_though_it_comes_as_new(
    server: str, template: str, house: int
) -> None:
    async with side(server, template) as exchanges:
        one, two = Sender(exchanges, OTHER_WORKER), Sender(exchanges, SECRETARY)
        first = one.visit(OTHER_GRID)
        await one.send(first)
        verdicts = await two.send(two.visit(GRID), two.visit(GRID, first.id, house=house))
        assert [(verdict.outcome, verdict.reason) for verdict in verdicts] == [
            ("applied", None),
            ("held", "grid-mismatch"),
        ]


async def test_what_waits_for_a_visit_is_released_when_it_comes_among_new_ones(
    server: str, template: str
) -> None:
    async with side(server, template) as exchanges:
        one, two = Sender(exchanges, WORKER), Sender(exchanges, SECRETARY)
        visit = one.visit(GRID)
        problem = two.visit(GRID)
        problem.kind = "problem"
        problem.fields = {
            "title": "路灯不亮",
            "duty": "emergency",
            "severity": "urgent",
            "raised_at": canonical_moment(NOW),
            "visit_id": visit.id,
        }
        (held,) = await two.send(problem)
        assert (held.outcome, held.reason) == ("held", "reference-missing")
        await one.send(visit, one.visit(GRID))
        (row,) = await exchanges._database.pool.fetch("SELECT state FROM held")
        assert row["state"] == "released"
        assert (
            await exchanges._database.pool.fetchval(
                "SELECT count(*) FROM problem WHERE id = $1", problem.id
            )
            == 1
        )
