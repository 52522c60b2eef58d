"""What the commands share: the screen, progress bars, and loading the roster with one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from service.cli.refusals import say
from service.identity.passwords import hasher
from service.kit.database import Database, open_pool
from service.kit.localization import in_language, language_of_the_terminal
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.texts import Text

DEMO_PASSWORD = "gridloop-demo"
console = Console()


async def load_roster(settings: Settings) -> None:
    """Loads the roster with a progress bar and prints what there is now."""
    from service.organisation.load import load

    pool = await open_pool(str(settings.database_url), 2)
    try:
        with progress_bar() as progress:
            show = bars(progress)
            password = hasher.hash(DEMO_PASSWORD) if settings.demo else None
            loaded = await load(Database(pool), settings, utc_now(), show, password)
    finally:
        await pool.close()
    text = Text(
        "Roster: {units} units ({new_units} new), {cadres} cadres ({new_cadres} new), {households}"
        " households ({new_households} new).",
        **msgspec.structs.asdict(loaded),
    )
    say(console, text, "default")


def shown(text: str) -> str:
    """A text in the language of the terminal: for tables and progress, where both would not fit."""
    return in_language(text, language_of_the_terminal())


async def load_public_units(settings: Settings) -> None:
    """Loads the units of the public roster and prints how many there are."""
    from service.organisation.load import load_public_units as load_units

    pool = await open_pool(str(settings.database_url), 2)
    try:
        count, new = await load_units(Database(pool))
    finally:
        await pool.close()
    text = Text("Roster: {count} units down to villages ({new} new).", count=count, new=new)
    say(console, text, "default")


async def load_demo_roster(settings: Settings) -> None:
    """Loads the demo's roster where there is none, so that somebody can sign in."""
    from service.organisation.load import has_units

    pool = await open_pool(str(settings.database_url), 1)
    try:
        there = await has_units(Database(pool))
    finally:
        await pool.close()
    if not there:
        text = Text(
            "The demo's roster is loaded first; the password is {password}.", password=DEMO_PASSWORD
        )
        say(console, text, "default")
        await load_roster(settings)


def progress_bar() -> Progress:
    """A progress bar with count and time."""
    return Progress(
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def bars(progress: Progress) -> Callable[[str, int, int], None]:
    """What shows how far each of several works has come: `show(what, done, total)` makes the bars
    as it hears of them.
    """
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = progress.add_task(shown(what), total=total)
        progress.update(tasks[what], completed=done, total=total)

    return show


@contextmanager
def steps(what: Text) -> Iterator[Callable[[int, int], None]]:
    """What shows how far one long work has come, `show(done, total)`: a bar, or where nobody sees
    one a line for every tenth.
    """
    if console.is_terminal:
        with progress_bar() as progress:
            task = progress.add_task(shown(what), total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)
        return
    told = -1

    def tell(done: int, total: int) -> None:
        nonlocal told
        tenth = 10 * done // max(total, 1)
        if tenth > told:
            told = tenth
            text = Text("{what}: {done} of {total}", what=what, done=done, total=total)
            console.print(shown(text), highlight=False)

    yield tell
