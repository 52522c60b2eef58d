"""Prints what an import does or would do, and what is wrong: as tables where the terminal is wide
enough, else line under line.
"""

from collections import Counter
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Column, Table

from service.cli.console import console, shown
from service.cli.refusals import say
from service.kit.localization import in_language, language_of_the_terminal
from sync_protocol.texts import Text, restored

if TYPE_CHECKING:
    from service.imports.report import Item, Report, State
    from service.imports.row_faults import Fault
    from sync_protocol.vocabulary import Label

SHOWN = 60
# A table of faults has five columns, of which two are sentences.
_WIDE = 110
_EXAMPLES = 5
_SHEET_HEADS = (
    *(Text("sheet"), Text("rows"), Text("new"), Text("changed"), Text("unchanged"), Text("ended")),
    Text("wrong"),
)
_FAULT_HEADS = (
    *(Text("where"), Text("column"), Text("value"), Text("what is wrong")),
    Text("what to do"),
)
_WHATS = {"new": Text("new"), "changed": Text("changed"), "ended": Text("ended")}


def told(kept: str) -> str:
    """A text that was kept, in the language of the terminal."""
    return escape(in_language(restored(kept), language_of_the_terminal()))


def show_import(id: str, state: "State", report: "Report", file: str | None) -> None:
    """Prints what came of an import; `file`: where all faults were written."""
    _show_counts(report)
    _show_changes(report)
    _show_sheets(report)
    _show_faults(report, file)
    for kept in report.warnings:
        say(console, restored(kept), "yellow")
    _show_end(id, state, report)


def _title(sheet: str) -> str:
    from service.imports.columns import SHEETS

    return _said(SHEETS[sheet].title)


def _said(label: "Label") -> str:
    """A label in the language of the terminal."""
    return label.zh if language_of_the_terminal() == "zh" else label.en


def _show_counts(report: "Report") -> None:
    from service.imports.columns import IN_WORKBOOKS

    table = Table(*map(shown, _SHEET_HEADS))
    for name in (sheet.name for sheet in IN_WORKBOOKS):
        tally = report.sheets.get(name)
        if tally is None or (name == "levels" and not tally.rows):
            continue  # few places have others
        counts = (tally.rows, tally.new, tally.changed, tally.unchanged, tally.ended, tally.bad)
        table.add_row(_title(name), *map(str, counts))
    console.print(table)


def _show_changes(report: "Report") -> None:
    """What is new, changed or ended, sheet by sheet, each with its first rows."""
    seen: Counter[tuple[str, str]] = Counter()
    for item in report.items:
        seen[item.sheet, item.what] += 1
        if seen[item.sheet, item.what] == 1:
            count = getattr(report.sheets[item.sheet], item.what)
            console.print(
                f"[bold]{escape(_title(item.sheet))}: {shown(_WHATS[item.what])} {count}[/bold]",
                highlight=False,
            )
        if seen[item.sheet, item.what] <= _EXAMPLES:
            console.print(f"  {escape(_line_of(item))}", highlight=False, soft_wrap=True)
        elif seen[item.sheet, item.what] == _EXAMPLES + 1:
            console.print("  …", highlight=False)


def _line_of(item: "Item") -> str:
    from service.imports.columns import SHEETS

    columns = SHEETS[item.sheet].by_name
    place = shown(Text("row {row}", row=item.row) if item.row else Text("not in the files"))
    fields = ", ".join(_said(columns[name].header) for name in item.fields if name in columns)
    named = in_language(restored(item.named or item.key), language_of_the_terminal())
    where = f" {item.grid}" if item.grid else ""
    return f"{place}: {named}{where}" + (f" ({fields})" if fields else "")


def _show_sheets(report: "Report") -> None:
    from service.imports.columns import NOTES

    for part in report.told:
        if not part.sheet and part.title in NOTES:
            continue  # the template's own
        if not part.sheet:
            text = Text(
                "{file}: the sheet ‘{sheet}’ is none of the roster's and was passed over.",
                file=part.file,
                sheet=part.title,
            )
            say(console, text, "yellow")
        elif part.ignored:
            text = Text(
                "{file}, ‘{sheet}’: these columns are not known and were passed over: {columns}.",
                file=part.file,
                sheet=part.title,
                columns=part.ignored,
            )
            say(console, text, "yellow")


# The sheets of what an import did, by the kinds of `import_effect`.
_SHEET_OF = {"household": "households", "post": "posts", "person": "people", "unit": "units"}


def show_left(report: "Report") -> None:
    """Prints what could not be taken back, by the names that people know."""
    if not report.left:
        return
    say(console, Text("These were left:"), "yellow")
    heads = (Text("sheet"), Text("what"), Text("grid"), Text("why"))
    table = Table(*(Column(shown(head), overflow="fold") for head in heads))
    for left in report.left[:SHOWN]:
        sheet = _title(_SHEET_OF.get(left.kind, left.kind))
        grid = left.grid if left.kind == "household" else ""
        table.add_row(sheet, told(left.named or left.key), grid, told(left.why))
    console.print(table)
    if len(report.left) > SHOWN:
        text = Text(
            "Only the first {shown} are shown; the report of the import over REST lists more.",
            shown=SHOWN,
        )
        say(console, text, "yellow")


def _where(fault: "Fault") -> str:
    row = shown(Text("row {row}", row=fault.row)) if fault.row else ""
    return " ".join(part for part in (fault.file, fault.sheet, row) if part)


def _show_faults(report: "Report", file: str | None) -> None:
    some = report.faults[:SHOWN]
    if some and console.width >= _WIDE:
        table = Table(
            *(Column(shown(head), overflow="fold") for head in _FAULT_HEADS),
            show_lines=True,
            expand=True,
        )
        for place, ratio in enumerate((3, 2, 2, 4, 4)):
            table.columns[place].ratio = ratio
        for fault in some:
            cells = (_where(fault), fault.column, fault.value)
            table.add_row(*map(escape, cells), told(fault.what), told(fault.todo))
        console.print(table)
    else:
        for fault in some:
            value = f" ‘{fault.value}’" if fault.value else ""
            head = f"{_where(fault)} · {fault.column}{value}" if fault.column else _where(fault)
            console.print(f"[red]{escape(head)}[/red]", highlight=False, soft_wrap=True)
            for sentence in (told(fault.what), told(fault.todo)):
                console.print(f"  {sentence}", highlight=False, soft_wrap=True)
    if file is not None:
        text = Text("All faults are in {file}: {count}.", file=file, count=report.fault_count)
        say(console, text, "yellow")
    elif report.fault_count > SHOWN:
        text = Text(
            "Only the first {shown} of {count} faults are shown; --report FILE.csv or FILE.xlsx"
            " writes all of them.",
            shown=len(some),
            count=report.fault_count,
        )
        say(console, text, "yellow")


def _show_end(id: str, state: "State", report: "Report") -> None:
    texts = {
        "checked": Text("Nothing was written: this was a dry run."),
        "refused": Text(
            "Nothing was written. Faults that were found: {count}. Correct the rows and import the"
            " files again, or say --skip-bad to take the good ones.",
            count=report.fault_count,
        ),
        "done": Text("Import {id} is done. ‘gridloop roster undo {id}’ takes it back.", id=id),
        "failed": Text(
            (
                "Import {id} failed; the log says why. What it had written stays; import the"
                " files again, or take it back with ‘gridloop roster undo {id}’."
            ),
            id=id,
        ),
    }
    style = {"done": "green", "checked": "green"}.get(state, "red")
    say(console, texts[state], style)
