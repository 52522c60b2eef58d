"""The year of the founding article in `gridloop demo --article`: made, and shown as it is read."""

from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from service.cli.console import DEMO_PASSWORD, progress_bar, shown
from service.cli.refusals import say
from service.demo import article_figures, article_year
from service.kit.database import Database, open_pool
from service.kit.now import utc_now
from service.kit.settings import Settings
from service.writes import timelines
from sync_protocol.texts import Text


async def live_the_article(settings: Settings, one_in: int) -> int:
    """Writes the year of the article, or a share of it; returns which year it is."""
    pool = await open_pool(str(settings.database_url), 2, init=timelines.note_timeline)
    try:
        with progress_bar() as progress:
            what = Text("The year of the article: villages")
            task = progress.add_task(shown(what), total=None)
            return await article_year.live(
                Database(pool),
                settings,
                utc_now(),
                article_year.Figures().scaled(one_in),
                progress=lambda done, of: progress.update(task, completed=done, total=of),
            )
    finally:
        await pool.close()


async def show_the_article(base_url: str, console: Console, year: int, one_in: int) -> bool:
    """Each figure of the article as it is read over the API; whether all are as they should be."""
    form = {"grant_type": "password", "username": "S1502", "password": DEMO_PASSWORD}
    async with httpx.AsyncClient(base_url=base_url, timeout=120) as client:
        answer = (await client.post("/v1/auth/token", data=form)).raise_for_status()
        headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

        async def get(path: str, **query: Any) -> Any:
            answer = await client.get(path, params=query, headers=headers)
            return answer.raise_for_status().json()

        rows = await article_figures.read(get, year, one_in)
    table = Table(title=shown(Text("The figures of the article, read over the API")))
    for column in (Text("figure"), Text("where"), Text("value"), Text("to be")):
        table.add_column(shown(column), overflow="fold")
    for row in rows:
        where = f"{row.figure.route.format(year=year)} {row.figure.field}"
        table.add_row(row.figure.name, where, f"{row.value:,}", f"{row.expected:,}")
    console.print(table)
    say(console, Text("The service is at {url}.", url=base_url), "default")
    wrong = [row.figure.key for row in rows if row.value != row.expected]
    if wrong:
        say(console, Text("These are not as they should be: {figures}.", figures=", ".join(wrong)))
    return not wrong
