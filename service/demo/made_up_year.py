"""A made-up year of field work: who works where, and what they write; the same for a seed."""

import random
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

from service.demo.fill_log import Log, New
from service.demo.notes import notes
from service.kit.settings import Settings
from service.kit.sql import NULL_CELL, copy_field
from service.kit.workdays import is_workday
from service.organisation import generator
from sync_protocol import periods
from sync_protocol.ids import household_id, monthly_summary_id, weekly_analysis_id
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import SHANGHAI, from_ms, midnight, month_of, to_ms, week_of
from sync_protocol.vocabulary import DUTIES, SEVERITIES

# What every record has.
COMMON = (
    "id",
    "grid",
    "rev",
    "deleted",
    "device",
    "seq",
    "stamp",
    "by",
    "created_by",
    "received_at",
    "echo",
)


class MadeUpYear:
    """The made-up year: who works where, and what they write; the same for a seed."""

    def __init__(
        self, settings: Settings, heads: dict[str, int], last: date, days: int, seed: int, log: Log
    ) -> None:
        self.rng = random.Random(seed)
        self.log = log
        self.heads = heads
        self.last = last
        self.days = [last - timedelta(days=n) for n in range(days - 1, -1, -1)]
        self.working = [day for day in self.days if is_workday(day)] or self.days
        whole = generator.roster()
        self.workers: dict[str, list[str]] = {}
        self.village_cadres: dict[str, list[str]] = {}
        for cadre in whole.cadres:
            if cadre.role == "grid_worker":
                self.workers.setdefault(cadre.unit, []).append(cadre.staff_code)
            elif len(cadre.unit) == 12:
                self.village_cadres.setdefault(cadre.unit, []).append(cadre.staff_code)
        self.grids = sorted(heads)
        per_grid = settings.households_per_grid
        self.houses = {
            grid: [household_id(grid, number) for number in range(1, per_grid + 1)]
            for grid in self.grids
        }
        by_kind = notes()
        self.notes = {
            kind: [text for (_, name), texts in by_kind.items() if name == kind for text in texts]
            for kind in ("visit", "problem", "resolution")
        }
        self.number = 0

    def new_id(self, ms: int) -> str:
        """A UUIDv7 whose random part counts up."""
        self.number += 1
        return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}-7000-8000-{self.number:012x}"

    def rev(self, grid: str) -> int:
        """The next revision of a grid."""
        self.heads[grid] += 1
        return self.heads[grid]

    def visits(self, count: int) -> Iterator[str]:
        """Lines of visits in order of time: on working days, by the grid's workers and now and then
        a village cadre, each of whom hands in at once what a day brought.
        """
        choice, random_ = self.rng.choice, self.rng.random
        duties, contents = list(DUTIES), self.notes["visit"]
        days = len(self.working)
        for place, day in enumerate(self.working):
            begins = to_ms(midnight(day))
            made: dict[str, list[tuple[int, str, dict[str, Any]]]] = {}
            for number in range(count * place // days, count * (place + 1) // days):
                grid = self.grids[number % len(self.grids)]
                by = (
                    choice(self.village_cadres[grid[:12]])
                    if random_() < 0.1
                    else choice(self.workers[grid])
                )
                ms = begins + 8 * 3_600_000 + int(random_() * 10 * 3_600_000)
                fields: dict[str, Any] = {
                    "visited_at": canonical_moment(from_ms(ms)),
                    "duties": {"add": [choice(duties)]},
                }
                if self.houses[grid]:
                    fields["household_id"] = choice(self.houses[grid])
                made.setdefault(by, []).append((ms, grid, fields | {"content": choice(contents)}))
            for by, some in made.items():
                yield from self._handed_in(by, sorted(some, key=lambda visit: visit[0]))

    def _handed_in(self, by: str, visits: list[tuple[int, str, dict[str, Any]]]) -> Iterator[str]:
        """Lines of the visits of a day that somebody hands in together, within the hour, or once
        there is coverage again.
        """
        random_ = self.rng.random
        late = int(random_() * 3 * 86_400_000) if random_() < 0.05 else int(random_() * 3_600_000)
        phone = self.log.phone("visits", by)
        at = self.log.arrival(phone, visits[-1][0] + late)
        records = [
            New("visit", self.new_id(ms), grid, ms, fields, self.rev(grid))
            for ms, grid, fields in visits
        ]
        for record, (seq, stamp) in zip(records, self.log.push(phone, records, at), strict=True):
            fields, house = record.fields, record.fields.get("household_id", NULL_CELL)
            yield (
                f"{record.id}\t{record.grid}\t{record.rev}\tf\t{phone.device}\t{seq}\t{stamp}\t{by}\t{by}\t{at.isoformat()}\tf"
                f"\t{house}\t{_moment(record.ms)}\t{{{fields['duties']['add'][0]}}}\t{copy_field(fields['content'])}\n"
            )

    def problems(self, count: int) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
        """Problems in order of time, each with its steps; a tenth of the last days' are still open,
        one in twenty is escalated.
        """
        rng = self.rng
        for number in range(count):
            day = self.days[number * len(self.days) // count]
            raised = midnight(day) + timedelta(hours=8, seconds=rng.randrange(36_000))
            grid = self.grids[rng.randrange(len(self.grids))]
            worker, cadre = (
                rng.choice(self.workers[grid]),
                rng.choice(self.village_cadres[grid[:12]]),
            )
            problem = {
                "grid": grid,
                "by": worker,
                "at": raised,
                "fields": {
                    "title": rng.choice(self.notes["problem"])[:60],
                    "duty": rng.choice(list(DUTIES)),
                    "severity": rng.choices(list(SEVERITIES), (80, 17, 3))[0],
                    "raised_at": canonical_moment(raised),
                    "source": "visit",
                },
            }
            yield problem, self._steps(raised, worker, cadre)

    def _steps(self, raised: datetime, worker: str, cadre: str) -> list[dict[str, Any]]:
        rng = self.rng
        luck = rng.random()
        plan: list[tuple[str, str, float]]
        if luck < 0.3:
            plan = [(worker, "resolve", 4)]
        elif luck < 0.33:
            plan = [(cadre, "reject", 20)]
        elif luck < 0.38:
            plan = [(cadre, "accept", 10), (cadre, "escalate", 30), (cadre, "resolve", 200)]
        elif luck < 0.4:
            plan = [
                (cadre, "accept", 10),
                (worker, "resolve", 60),
                (cadre, "reopen", 80),
                (worker, "resolve", 120),
            ]
        else:
            plan = [
                (cadre, "accept", 8),
                (worker, "handle", 20),
                (worker, "resolve", 24 + 140 * rng.random() ** 2),
            ]
        steps = []
        end = datetime.combine(self.last, datetime.min.time(), SHANGHAI) + timedelta(days=1)
        for by, action, hours in plan:
            at = raised + timedelta(seconds=int(3600 * hours * (0.5 + rng.random() / 2)))
            if at >= end:
                break
            fields = {"action": action, "at": canonical_moment(at)}
            if action == "reject":
                fields["reason"] = "unfounded"
            if action == "resolve":
                fields["note"] = rng.choice(self.notes["resolution"])
            steps.append({"by": by, "at": at, "fields": fields})
        return steps

    def texts(self) -> Iterator[tuple[str, tuple[str, ...], Iterator[str]]]:
        """The analyses and summaries that nineteen of twenty grids filed."""
        weeks = [
            name
            for name in dict.fromkeys(map(week_of, self.days))
            if periods.week(name).last <= self.last
        ]
        months = [
            name
            for name in dict.fromkeys(map(month_of, self.days))
            if periods.month(name).last <= self.last
        ]
        yield (
            "weekly_analysis",
            (*COMMON, "week", "situation", "measures"),
            self._filed("weekly_analysis", weeks, periods.week, weekly_analysis_id),
        )
        yield (
            "monthly_summary",
            (*COMMON, "month", "results", "measures"),
            self._filed("monthly_summary", months, periods.month, monthly_summary_id),
        )

    def _filed(self, kind: str, names: list[str], parse: Any, id_of: Any) -> Iterator[str]:
        key, first = ("week", "situation") if kind == "weekly_analysis" else ("month", "results")
        for name in names:
            ends = to_ms(parse(name).ends)
            for grid in self.grids:
                luck = self.rng.random()
                if luck < 0.05:
                    continue
                by = self.workers[grid][0]
                phone = self.log.phone(kind, by)
                at = self.log.arrival(phone, ends + (86_400_000 * 4 if luck < 0.1 else 3_600_000))
                fields = {key: name, first: "本期平稳", "measures": "继续走访"}
                record = New(kind, id_of(grid, name), grid, to_ms(at), fields, self.rev(grid))
                [(seq, stamp)] = self.log.push(phone, [record], at)
                yield (
                    f"{record.id}\t{grid}\t{record.rev}\tf\t{phone.device}\t{seq}\t{stamp}\t{by}\t{by}\t{at.isoformat()}\tf"
                    f"\t{name}\t{fields[first]}\t{fields['measures']}\n"
                )


def _moment(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="milliseconds")
