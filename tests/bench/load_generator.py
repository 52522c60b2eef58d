"""Phones for load: each a worker of a grid with prepared mutations, speaking the wire by hand
through a `Line`.
"""

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.demo.notes import notes
from service.organisation import generator
from simulator.places import PASSWORD
from sync_protocol.clock import make_stamp
from sync_protocol.ids import household_id, uuid7
from sync_protocol.moments import canonical_moment
from sync_protocol.periods import from_ms
from sync_protocol.vocabulary import DUTIES
from tests.bench.wire import Answer, Line, Packed, inflated, post

HOUSES = 30
DAY_MS = 24 * 3600 * 1000
_CURSOR = re.compile(rb'"cursor":"([^"]*)"')
_REVS = re.compile(rb'"rev":(\d+)')
_SENTENCES = [
    part for texts in notes().values() for text in texts for part in text.rstrip("。").split("。")
]


class Unexpected(RuntimeError):
    """The service answered what a bench cannot go on with."""


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Phone:
    """One phone: its sign-in, its cursor, its count of mutations."""

    def __init__(self, staff_code: str, grid: str, rng: random.Random) -> None:
        self.staff_code = staff_code
        self.grid = grid
        self.rng = rng
        self.device = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        self.token = ""
        self.cursor = b"null"
        self.seq = 0

    async def sign_in(self, line: Line) -> None:
        """A token, as a phone gets it."""
        form = (
            f"grant_type=password&username={self.staff_code}&password={PASSWORD}"
            f"&device_id={self.device}&platform=bench"
        )
        answer = await line.ask(
            "/v1/auth/token", form.encode(), kind="application/x-www-form-urlencoded"
        )
        if answer.status != 200:
            raise Unexpected(f"sign-in of {self.staff_code}: {answer.status} {answer.body[:300]!r}")
        self.token = msgspec.json.decode(answer.body)["access_token"]

    def visit(self, back_ms: int) -> dict[str, Any]:
        """The fields of a visit made so long ago."""
        at = from_ms(now_ms() - back_ms)
        fields = {
            "household_id": household_id(self.grid, self.rng.randint(1, HOUSES)),
            "visited_at": canonical_moment(at),
            "duties": {"add": self.rng.sample(tuple(DUTIES), self.rng.choice((1, 1, 2)))},
            "content": self.note(),
        }
        if self.rng.random() < 0.5:
            lat, lon = round(40.5 + self.rng.random(), 6), round(109.5 + self.rng.random(), 6)
            fields["location"] = {"lat": lat, "lon": lon, "accuracy": self.rng.randint(3, 40)}
        return fields

    def note(self) -> str:
        """What was seen: two or three sentences, and whom it concerns, so that hardly two notes are
        the same.
        """
        sentences = self.rng.sample(_SENTENCES, self.rng.choice((2, 2, 3)))
        return f"{generator.person(str(self.rng.random()))}家：" + "。".join(sentences) + "。"

    def new_id(self) -> str:
        """An id for a new record."""
        return uuid7(now_ms(), self.rng)

    def mutation(
        self, kind: str, id: str, fields: dict[str, Any], base: int = 0, op: str = "put"
    ) -> dict[str, Any]:
        """The next mutation, stamped now."""
        self.seq += 1
        return {
            "seq": self.seq,
            "kind": kind,
            "id": id,
            "grid": self.grid,
            "op": op,
            "base": base,
            "stamp": make_stamp(now_ms(), self.seq & 0xFFFF),
            "fields": fields,
        }

    def visits(self, count: int, days: int = 5) -> list[dict[str, Any]]:
        """New visits over the last days, in the order of the days."""
        backs = sorted(
            (self.rng.randrange(60_000, days * DAY_MS) for _ in range(count)), reverse=True
        )
        return [self.mutation("visit", self.new_id(), self.visit(back)) for back in backs]

    async def exchange(self, line: Line, packed: Packed | None = None, limit: int = 500) -> Answer:
        """One exchange with prepared mutations, or none; keeps the cursor of a good answer."""
        answer = inflated(await line.send(self.request(packed, limit)))
        if answer.status == 200:
            self.take(answer)
        return answer

    def request(self, packed: Packed | None = None, limit: int = 500) -> bytes:
        """The whole request of an exchange."""
        sent_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        rest = (
            f'"protocol":1,"sent_at":"{sent_at}","cursor":{self.cursor.decode()},'
            f'"limit":{limit},"queued":0}}'
        ).encode()
        if packed is None:
            return post("/v1/sync", b"{" + rest, self.token)
        return post("/v1/sync", packed.with_rest(rest), self.token, "gzip")

    def take(self, answer: Answer) -> None:
        """Keeps the cursor of an answer."""
        found = _CURSOR.search(answer.body)
        if found is None:
            raise Unexpected(f"an answer without a cursor: {answer.body[:300]!r}")
        self.cursor = b'"' + found[1] + b'"'

    async def catch_up(self, line: Line) -> int:
        """Pulls until there is nothing more; returns how many changes came."""
        changes = 0
        while True:
            answer = await self.exchange(line)
            if answer.status != 200:
                raise Unexpected(f"a pull: {answer.status} {answer.body[:300]!r}")
            changes += answer.body.count(b'{"kind":"')
            if b'"more":true' not in answer.body:
                return changes


def packed(mutations: Sequence[dict[str, Any]]) -> Packed:
    """Mutations as the larger part of a request."""
    return Packed(b'{"mutations":' + msgspec.json.encode(mutations) + b",")


def revs(answer: Answer) -> list[int]:
    """The revisions of the verdicts of an answer whose changes are empty."""
    return [int(found) for found in _REVS.findall(answer.body)]


def workers(count: int, one_a_grid: bool = True) -> list[tuple[str, str]]:
    """`(staff code, grid)` of the first so many grid workers; of different grids if so asked."""
    found: list[tuple[str, str]] = []
    seen: set[str] = set()
    for cadre in generator.roster().cadres:
        if cadre.role == "grid_worker" and not (one_a_grid and cadre.unit in seen):
            seen.add(cadre.unit)
            found.append((cadre.staff_code, cadre.unit))
            if len(found) == count:
                break
    return found


async def in_turn(
    url: str, jobs: Sequence[Callable[[Line], Awaitable[Any]]], concurrency: int
) -> None:
    """Does jobs over so many connections; each connection takes the next job when it is free."""
    todo = list(reversed(jobs))

    async def work() -> None:
        line = await Line.open(url)
        try:
            while todo:
                await todo.pop()(line)
        finally:
            line.close()

    await asyncio.gather(*(work() for _ in range(concurrency)))
