"""The table of record kinds in PROTOCOL.md, written from the declarations."""

from pathlib import Path

from sync_protocol.fields import Choice, FieldType, Moment, Named, SetOf, Text, Whole
from sync_protocol.records import KINDS

PROTOCOL_MD = Path(__file__).parent / "PROTOCOL.md"
BEGIN, END = "<!-- kinds -->\n", "<!-- /kinds -->"


def kinds_table() -> str:
    """A Markdown table of every kind and field."""
    lines = ["| kind | field | type | policy | |", "|---|---|---|---|---|"]
    for kind in KINDS.values():
        for place, field in enumerate(kind.fields):
            name = f"`{kind.name}` {kind.zh}" if place == 0 else ""
            notes = ["required"] if field.required else []
            notes += [f"id of a {field.refers}"] if field.refers else []
            notes += ["time of an event"] if field.name in kind.events else []
            lines.append(f"| {name} | `{field.name}` {field.zh} | {describe(field.type)} | {field.policy.value} | {', '.join(notes)} |")
    return "\n".join(lines) + "\n"


def describe(kind: FieldType) -> str:
    """A field type in a few words."""
    match kind:
        case Text():
            return f"text, at most {kind.max}"
        case Choice():
            return "one of " + ", ".join(f"`{word}`" for word in kind.words)
        case Whole():
            return f"whole number, {kind.min} to {kind.max}"
        case Named():
            return kind.form
        case SetOf():
            return f"set of at most {kind.max}: {describe(kind.item)}"
        case Moment():
            return "time"
        case _:
            return type(kind).__name__.lower()


def written(text: str) -> str:
    """PROTOCOL.md with the table as it should be."""
    head, _, rest = text.partition(BEGIN)
    return head + BEGIN + kinds_table() + END + rest.partition(END)[2]
