"""The connection to PostgreSQL is cut before, within and after COMMIT, again and again, under
phones and REST: a proxy between the service's processes and PostgreSQL reads what they say, and
cuts in that moment. Run with `python -m tests.drills.lost_commit`.
"""

import asyncio
import random
from collections import Counter
from pathlib import Path

import httpx

from simulator.database_proxy import CUT, Failure, Moment, fatal, proxied
from tests.drills.common import (
    Phone,
    Report,
    Writer,
    count_kept,
    main,
    prepared_server,
    service_over,
    service_url,
    sign_in,
)

PHONES, APPS, SECONDS = 6, 3, 25
EVERY_S = 0.12
MARKER = b"mutation_body"


async def live_through(url: str, folder: Path) -> Report:
    """Cuts connections under load; what was answered and kept."""
    report = Report("Connections that are lost about COMMIT")
    cuts: Counter[str] = Counter()
    async with (
        proxied(url, MARKER) as (proxy, through),
        service_over(through(service_url(url)), folder) as service,
        httpx.AsyncClient(base_url=service.url, timeout=30) as client,
    ):
        phones = [Phone(client, Counter(), visits=5) for _ in range(PHONES)]
        apps = [Writer(client, Counter()) for _ in range(APPS)]
        await sign_in(phones, apps)
        over = asyncio.Event()
        pushing = [asyncio.create_task(push(phone, over)) for phone in phones]
        raising = [asyncio.create_task(raise_problems(app, over)) for app in apps]
        rng, until = random.Random(1), asyncio.get_running_loop().time() + SECONDS
        while asyncio.get_running_loop().time() < until:
            moment = rng.choice(tuple(Moment))
            proxy.fail(Failure(moment, rng.choice((CUT, fatal("57P01")))))
            await asyncio.wait_for(proxy.failed.wait(), 10)
            cuts[moment.value] += 1
            await asyncio.sleep(EVERY_S)
        over.set()
        await asyncio.gather(*pushing, *raising)
    for moment in Moment:
        report.row(
            f"connections cut {moment.value}",
            cuts[moment.value],
            "at least 10",
            cuts[moment.value] >= 10,
        )
    report.row("cuts", sum(cuts.values()), figure=True)
    await count_kept(url, report, phones, [title for app in apps for title in app.made])
    report.answered(sum((phone.seen for phone in phones), Counter()), "phones")
    report.answered(sum((app.seen for app in apps), Counter()), "apps over REST")
    return report


async def push(phone: Phone, over: asyncio.Event) -> None:
    """A phone's pushes, each until it is taken in."""
    while not over.is_set():
        await phone.push(pause_s=0.05)


async def raise_problems(app: Writer, over: asyncio.Event) -> None:
    """An app's problems, each until it is made."""
    while not over.is_set():
        await app.raise_problem(pause_s=0.05)


def drill() -> Report:
    """The drill."""
    with prepared_server() as (url, folder):
        return asyncio.run(live_through(url, folder))


if __name__ == "__main__":
    main(drill)
