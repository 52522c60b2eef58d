"""`gridloop demo`: the service, 60 phones and a week, then the supervisor's view over the API."""

import asyncio
import socket
import time
from http import HTTPStatus
from typing import Any

import httpx
import uvicorn
from rich.console import Console
from rich.table import Table

from service.app import create_app
from service.cli.console import DEMO_PASSWORD, load_roster, progress_bar, shown
from service.cli.refusals import say
from service.demo.article_run import live_the_article, show_the_article
from service.demo.phones import Clock, Week, last_week
from service.kit.settings import Settings
from service.organisation import generator
from service.runtime.leftovers import own_folder
from sync_protocol.texts import Text
from sync_protocol.vocabulary import DUTIES

PHONES = 60
STARTUP_TRIES = 400


def township_and_workers() -> tuple[generator.UnitRow, list[tuple[str, str]]]:
    """A township with phones enough, and `(staff code, grid)` of its first 60 workers."""
    whole = generator.roster()
    for unit in whole.units:
        workers = [
            (cadre.staff_code, cadre.unit)
            for cadre in whole.cadres
            if cadre.role == "grid_worker" and cadre.unit.startswith(unit.code)
        ]
        if unit.level == "township" and len(workers) >= PHONES:
            return unit, workers[:PHONES]
    raise LookupError(f"no township has {PHONES} grid workers")


def run(settings: Settings, port: int, once: bool, console: Console, one_in: int = 0) -> int:
    """Runs the whole demo; returns the exit code. `one_in`: the year of the article in place of the
    week, with one in so many of its visits, problems and ties; 0: the week.
    """
    if _taken(port):
        text = Text(
            "Port {port} is in use. Name another one: make demo ARGS='--port {other}'",
            port=port,
            other=port + 1,
        )
        say(console, text)
        return 1
    return 0 if asyncio.run(_run(settings, port, once, console, one_in)) else 1


async def _run(settings: Settings, port: int, once: bool, console: Console, one_in: int) -> bool:
    began = time.monotonic()
    await load_roster(settings)
    year = await live_the_article(settings, one_in) if one_in else None
    right = True
    clock = Clock()
    config = uvicorn.Config(
        create_app(settings, clock.now),
        host="127.0.0.1",
        port=port,
        access_log=False,
        log_level="warning",
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        base_url = f"http://127.0.0.1:{port}"
        await _wait_until_ready(base_url, serving)
        if year is None:
            await _week(base_url, console, clock, began)
        else:
            right = await show_the_article(base_url, console, year, one_in)
            done = Text("Done in {seconds} s.", seconds=round(time.monotonic() - began))
            say(console, done, "default")
        if once and year is None:
            console.print()
            text = Text(
                "The week is kept: ‘gridloop serve --demo --data {data}’ serves it again.",
                data=str(settings.data),
            )
            say(console, text, "default")
        if not once:
            console.print()
            say(console, Text("The service stays up until Ctrl-C."), "green")
            await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
    return right


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def _wait_until_ready(base_url: str, serving: "asyncio.Task[None]") -> None:
    async with httpx.AsyncClient(base_url=base_url, timeout=2) as client:
        for _ in range(STARTUP_TRIES):
            if serving.done():
                raise RuntimeError("the service ended before it was ready")
            try:
                if (await client.get("/readyz")).status_code == HTTPStatus.OK:
                    return
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.05)
    raise RuntimeError("the service did not get ready")


async def _week(base_url: str, console: Console, clock: Clock, began: float) -> None:
    township, workers = township_and_workers()
    name = last_week(clock.now())
    with own_folder("demo") as folder:
        week = Week(base_url, folder, workers, DEMO_PASSWORD, clock)
        with progress_bar() as progress:
            what = Text("{week}: {count} phones", week=name, count=PHONES)
            task = progress.add_task(shown(what), total=6)
            await week.live(name, lambda day: progress.update(task, completed=day))
            progress.update(task, completed=6)
        lost = week.lost_answers
        await week.close()
    async with httpx.AsyncClient(base_url=base_url, timeout=30) as client:
        report = await _ask(client, f"S{township.code}", township.code, name)
    _print(console, township, name, report, lost)
    _say_how(console, base_url, township.code, workers, name, time.monotonic() - began)


async def _ask(client: httpx.AsyncClient, staff_code: str, unit: str, week: str) -> dict[str, Any]:
    """What the township's supervisor gets over the API."""
    form = {"grant_type": "password", "username": staff_code, "password": DEMO_PASSWORD}
    token = (
        (await client.post("/v1/auth/token", data=form)).raise_for_status().json()["access_token"]
    )
    headers = {"Authorization": f"Bearer {token}"}

    async def get(path: str, **query: str) -> Any:
        return (
            (await client.get(path, params={"unit": unit, **query}, headers=headers))
            .raise_for_status()
            .json()
        )

    return {
        "summary": await get("/v1/summaries/weekly", week=week),
        "cadres": await get(
            "/v1/summaries/cadres", week=week, sort="problems_resolved", limit="10"
        ),
        "conflicts": await get("/v1/conflicts", limit="200"),
        "held": await get("/v1/held"),
    }


def _print(
    console: Console, township: generator.UnitRow, week: str, report: dict[str, Any], lost: int
) -> None:
    summary = report["summary"]
    console.print(_totals_table(township.name, week, summary))
    console.print(
        _table(
            "职责 by duty",
            ("职责", "走访", "上报", "办结"),
            [
                (
                    DUTIES[row["duty"]].zh,
                    row["visits"],
                    row["problems_raised"],
                    row["problems_resolved"],
                )
                for row in summary["duties"]
            ],
        )
    )
    console.print(
        _table(
            "干部 the ten with most problems resolved",
            ("工号", "姓名", "党员", "走访", "上报", "办结", "超期"),
            [
                (
                    row["staff_code"],
                    row["name"],
                    "✓" if row["party_member"] else "",
                    row["visits"],
                    row["problems_raised"],
                    row["problems_resolved"],
                    row["problems_overdue"],
                )
                for row in report["cadres"]["items"]
            ],
        )
    )
    conflicts = report["conflicts"]["items"]
    console.print(
        _table(
            f"冲突 conflicts ({len(conflicts)}), the first five",
            ("记录", "字段", "保留", "未保留", "规则"),
            [
                (
                    row["kind"],
                    row["field"],
                    _short(row["kept"]),
                    _short(row["lost"]),
                    row["rule"].partition(":")[0],
                )
                for row in conflicts[:5]
            ],
        )
    )
    console.print(
        _table(
            "待核数据 held mutations",
            ("工号", "记录", "原因", "说明"),
            [
                (row["staff_code"], row["kind"], row["reason"], row["detail"])
                for row in report["held"]["items"]
            ],
        )
    )
    text = Text(
        "Answers lost on the way: {lost}; logs that arrived after the week: {late}.",
        lost=lost,
        late=summary["late_arrivals"],
    )
    say(console, text, "default")


def _totals_table(name: str, week: str, summary: dict[str, Any]) -> Table:
    labels = {
        "visits": "走访 visits",
        "households_visited": "走访户数 households visited",
        "households": "农牧户 households",
        "problems_raised": "上报 raised",
        "problems_resolved": "办结 resolved",
        "problems_open": "在办 open",
        "problems_overdue": "超期 overdue",
        "median_hours_to_resolve": "办结用时中位数(小时) median hours",
    }
    rows = [
        (label, _show(summary["totals"][key]), _show(summary["previous"][key]))
        for key, label in labels.items()
    ]
    loop = summary["loop"]
    rows.append(("周分析 analyses filed", f"{loop['filed']} / {loop['grids']}", ""))
    return _table(f"{name} {week} 周报", ("", "本周", "上周"), rows)


def _show(value: Any) -> str:
    return "–" if value is None else str(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 30 else text[:29] + "…"


def _table(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        numbers = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
        table.add_column(column, justify="right" if numbers else "left")
    for row in rows:
        table.add_row(*map(str, row))
    return table


def _say_how(
    console: Console,
    base_url: str,
    township: str,
    workers: list[tuple[str, str]],
    week: str,
    seconds: float,
) -> None:
    text = Text(
        "Done in {seconds} s. The pages are at {pages}, the docs at {url}. Sign in as supervisor,"
        " cadre, worker or administrator ({names}; password {password}), there or as this does:",
        seconds=round(seconds),
        pages=base_url,
        url=f"{base_url}/docs",
        names=", ".join((f"S{township}", f"C{workers[0][1][:12]}-1", workers[0][0], "admin")),
        password=DEMO_PASSWORD,
    )
    console.print()
    say(console, text, "default")
    commands = (
        f"  TOKEN=$(curl -s {base_url}/v1/auth/token -d grant_type=password -d username=S{township}"
        f" -d password={DEMO_PASSWORD} | python3 -c 'import json,sys;"
        ' print(json.load(sys.stdin)["access_token"])\')',
        f"  curl -s '{base_url}/v1/summaries/weekly?unit={township}&week={week}' -H"
        ' "Authorization: Bearer $TOKEN"',
    )
    for command in commands:
        console.print(command, highlight=False, soft_wrap=True)
