"""The phones of the demo: 60 reference devices of one township that live through a week, with all
that goes wrong in the field.
"""

import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from service.demo.notes import notes
from sync_protocol.device import Account, Device, Store, Transport
from sync_protocol.ids import household_id
from sync_protocol.moments import moment_at
from sync_protocol.periods import from_ms, local_day, midnight, to_ms, week, week_of
from sync_protocol.vocabulary import DUTIES

HOURS = 3_600_000
TWO_DAYS = 48 * HOURS


class LossyTransport(httpx.AsyncBaseTransport):
    """Real HTTP that loses the next answer when told to: the server has done its work, and the
    phone never hears of it.
    """

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=8))
        self.lose_next = False
        self.lost = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Passes a request on."""
        response = await self._inner.handle_async_request(request)
        if self.lose_next and request.url.path == "/v1/sync":
            self.lose_next = False
            self.lost += 1
            await response.aread()
            raise httpx.ReadError("the answer was lost")
        return response

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._inner.aclose()


class Clock:
    """The time of the demo's week, which the service and the phones share; afterwards the real
    time.
    """

    def __init__(self) -> None:
        self.ms: int | None = None

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return to_ms(datetime.now(UTC)) if self.ms is None else self.ms

    def now(self) -> datetime:
        """The moment."""
        return from_ms(self.now_ms())


class Phone:
    """One phone with its owner's habits."""

    def __init__(self, device: Device, grid: str, staff_code: str, clock_ahead_ms: int = 0) -> None:
        self.device = device
        self.grid = grid
        self.staff_code = staff_code
        self.clock_ahead_ms = clock_ahead_ms
        self.wall = 0


class Week:
    """A week of one township. `live` yields the share done after each day, so that progress can be
    shown.
    """

    def __init__(
        self,
        base_url: str,
        folder: Path,
        workers: list[tuple[str, str]],
        password: str,
        clock: Clock,
    ) -> None:
        self._rng = random.Random(2026)
        self._notes = notes()
        self._transport = LossyTransport()
        self._client = httpx.AsyncClient(base_url=base_url, transport=self._transport, timeout=30)
        self._clock = clock
        self.phones = [
            self._phone(folder, staff_code, grid, password, TWO_DAYS if place == 7 else 0)
            for place, (staff_code, grid) in enumerate(workers)
        ]

    @property
    def lost_answers(self) -> int:
        """How many answers got lost on the way."""
        return self._transport.lost

    def _phone(self, folder: Path, staff_code: str, grid: str, password: str, ahead: int) -> Phone:
        store = Store(folder / f"{staff_code}.sqlite3")
        phone: Phone

        def wall() -> int:
            return phone.wall + phone.clock_ahead_ms

        async def at_once(seconds: float) -> None:
            """The demo's week is short: nobody waits between tries."""

        device = Device(
            store,
            Transport(self._client),
            Account(staff_code, password),
            now=wall,
            rng=random.Random(staff_code),
            sleep=at_once,
            name="demo phone",
        )
        phone = Phone(device, grid, staff_code, ahead)
        return phone

    async def live(self, name: str, after_day: Callable[[int], Awaitable[None] | None]) -> None:
        """The five working days of the week called `name`, then everybody syncs until all is handed
        in.
        """
        days = week(name).days[:5]
        self._clock.ms = to_ms(midnight(days[0])) + 7 * HOURS
        await self._sync_all(self.phones)
        for number, day in enumerate(days):
            evening = to_ms(midnight(day)) + 18 * HOURS
            for place, phone in enumerate(self.phones):
                phone.wall = to_ms(midnight(day)) + 9 * HOURS
                self._day(phone, place, number)
                self._troubles(phone, place, number)
            self._clock.ms = evening
            if number == 2:
                self._transport.lose_next = True
            await self._sync_all(
                [
                    phone
                    for place, phone in enumerate(self.phones)
                    if self._has_coverage(place, number)
                ]
            )
            result = after_day(number + 1)
            if result is not None:
                await result
        for phone in self.phones:
            phone.wall = evening + 2 * HOURS
            if phone.staff_code.endswith("-1"):
                self._analysis(phone, name)
        await self._sync_all([phone for place, phone in enumerate(self.phones) if place % 5])
        # The week is over when the last phones come back into coverage: their logs are late.
        self._clock.ms = None
        await self._sync_all(self.phones)
        await self._sync_all(self.phones)

    @staticmethod
    def _analysis(phone: Phone, name: str) -> None:
        phone.device.put(
            "weekly_analysis",
            {
                "week": name,
                "situation": f"本周走访{len(phone.device.records('visit', phone.grid))}户次。",
                "measures": "重点户每周至少走访一次，隐患当天上报。",
                "next_week": "继续入户，核对医保缴费名单。",
            },
            grid=phone.grid,
        )

    async def close(self) -> None:
        """Closes files and connections."""
        for phone in self.phones:
            phone.device.store.close()
        await self._client.aclose()

    def _has_coverage(self, place: int, day: int) -> bool:
        """Every fifth phone is out of coverage until the end, which makes late logs; others now and
        then.
        """
        return place % 5 != 0 and (place + day) % 3 != 0

    def _day(self, phone: Phone, place: int, number: int) -> None:
        for visit in range(2 + (place + number) % 4):
            duty = self._rng.choice(list(DUTIES))
            phone.wall += int(self._rng.uniform(0.2, 0.9) * HOURS)
            house = household_id(phone.grid, self._rng.randint(1, 30))
            at = moment_at(phone.wall + phone.clock_ahead_ms)
            visit_id = phone.device.put(
                "visit",
                {
                    "household_id": house,
                    "visited_at": at,
                    "duties": {"add": [duty]},
                    "content": self._rng.choice(self._notes[duty, "visit"]),
                },
                grid=phone.grid,
            )
            if (place * 7 + number * 3 + visit) % 9 == 0:
                self._problem(phone, visit_id, house, duty, at)

    def _problem(self, phone: Phone, visit_id: str, house: str, duty: str, at: str) -> None:
        text = self._rng.choice(self._notes[duty, "problem"])
        severity = self._rng.choices(("ordinary", "urgent", "emergency"), (6, 3, 1))[0]
        problem = phone.device.put(
            "problem",
            {
                "visit_id": visit_id,
                "household_id": house,
                "duty": duty,
                "title": text[:30],
                "detail": text,
                "severity": severity,
                "raised_at": at,
                "source": "visit",
            },
            grid=phone.grid,
        )
        if self._rng.random() < 0.6:
            phone.wall += int(self._rng.uniform(0.1, 0.5) * HOURS)
            step: dict[str, Any] = {
                "problem_id": problem,
                "action": "resolve",
                "at": moment_at(phone.wall + phone.clock_ahead_ms),
                "note": self._rng.choice(self._notes[duty, "resolution"]),
            }
            phone.device.put("step", step, grid=phone.grid)

    def _troubles(self, phone: Phone, place: int, number: int) -> None:
        """Two phones of one grid edit the same household; one phone writes a mutation that no
        server can take.
        """
        if number == 1 and phone.staff_code.endswith(("-1", "-2")) and self._has_partner(phone):
            ending = "0001" if phone.staff_code.endswith("-1") else "0002"
            phone.device.put(
                "household",
                {"phone": f"1000000{ending}", "note": f"{phone.staff_code} 核对了电话。"},
                grid=phone.grid,
                id=household_id(phone.grid, 1),
            )
        if number == 3 and place == 3:
            phone.device.put_unchecked(
                "visit",
                {"visited_at": "昨天下午", "content": "手机时间格式坏了的一条走访"},
                grid=phone.grid,
                id=household_id(phone.grid, 999),
            )

    def _has_partner(self, phone: Phone) -> bool:
        return sum(other.grid == phone.grid for other in self.phones) > 1

    async def _sync_all(self, phones: list[Phone]) -> None:
        for phone in phones:
            phone.wall = self._clock.now_ms()
            await phone.device.sync()


def last_week(now: datetime) -> str:
    """The ISO week before the one that `now` falls in."""
    return week_of(local_day(now) - timedelta(days=7))
