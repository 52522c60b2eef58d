"""What a command says when it cannot do what is asked: a sentence or two in English and Chinese,
and an exit code; no traceback.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from migrations import NoSuchRevision
from service.kit.database_errors import (
    TABLES_NEEDED,
    WITHOUT_RIGHTS,
    WITHOUT_TABLES,
    behind,
    fault_of,
    first_of_database,
    is_of_database,
    said,
)
from service.kit.encryption import KeyMissing
from service.kit.errors import Problem
from service.kit.localization import in_language
from service.kit.settings_reading import WrongSetting
from service.runtime.migrating import MigrationEnded, NewerTables, WouldLose
from sync_protocol.texts import Text, text_of

WRONG_USE = 2


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """What is written to a file; a file that cannot be written is refused."""
    try:
        yield
    except OSError as error:
        why = error.strerror or ""
        raise Refusal(Text("{file} cannot be written: {why}.", file=file, why=why)) from None


class Refusal(Exception):
    """A command ends without having done anything; `text` names the thing, what is wrong and what
    to do.
    """

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


def refusal_of(error: Exception) -> Refusal | None:
    """What an error that operators can mend comes down to; None for what nobody foresaw."""
    match error:
        case Refusal():
            return error
        case Problem():
            return Refusal(error.detail)
        case NewerTables() | WouldLose() | MigrationEnded():
            return Refusal(error.text)
        case NoSuchRevision():
            known = ", ".join(error.known)
            return Refusal(
                Text(
                    "There is no revision ‘{revision}’; there are {known}.",
                    revision=error.revision,
                    known=known,
                ),
                WRONG_USE,
            )
        case KeyMissing():
            return Refusal(text_of(error))
        case WrongSetting():
            return Refusal(text_of(error), WRONG_USE)
    found = first_of_database(error)
    fault = None if found is None else fault_of(found)
    if found is None or fault is None or not any(map(is_of_database, behind(error))):
        return None
    if isinstance(found, WITHOUT_TABLES):
        return Refusal(TABLES_NEEDED)
    if isinstance(found, WITHOUT_RIGHTS):
        return Refusal(
            Text(
                "The role of the database may not do this: {why}. Run ‘gridloop migrate’, which"
                " gives the service's role its rights; where only the owner of the tables may do"
                " it, set GRIDLOOP_OWNER_DATABASE_URL to a URL of that role.",
                why=said(found),
            )
        )
    return Refusal(
        Text(
            "{trouble} PostgreSQL says: {said}. What to do about ‘{name}’ stands in"
            " docs/operations/faults.md; then run the command again.",
            trouble=fault.text,
            said=said(found),
            name=fault.name,
        )
    )


def say(console: Console, text: str, style: str = "red") -> None:
    """A sentence in English, and below it in Chinese."""
    for shown in dict.fromkeys((in_language(text, "en"), in_language(text, "zh"))):
        console.print(f"[{style}]{escape(shown)}[/{style}]", highlight=False, soft_wrap=True)


class Commands(TyperGroup):
    """The commands, of which each ends with a sentence where an operator can mend what went
    wrong.
    """

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            say(Console(), refusal.text)
            raise typer.Exit(refusal.code) from None
