"""The tables in PROTOCOL.md that are written from the declarations: record kinds, and the life of a
problem.
"""

from pathlib import Path

from sync_protocol.fields import Choice, FieldType, Named, Text, Whole
from sync_protocol.lifecycle import OPEN, TRANSITIONS
from sync_protocol.moments import Moment
from sync_protocol.records import KINDS
from sync_protocol.sets import SetOf
from sync_protocol.vocabulary import ACTIONS, STATES

PROTOCOL_MD = Path(__file__).parent / "PROTOCOL.md"


def kinds_table() -> str:
    """A Markdown table of every kind and field."""
    lines = ["| kind | field | type | policy | |", "|---|---|---|---|---|"]
    for kind in KINDS.values():
        for place, field in enumerate(kind.fields):
            name = f"`{kind.name}` {kind.zh}" if place == 0 else ""
            notes = ["required"] if field.required else []
            notes += [f"id of a {field.refers}"] if field.refers else []
            notes += ["time of an event"] if field.name in kind.events else []
            lines.append(
                f"| {name} | `{field.name}` {field.zh} | {describe(field.type)} |"
                f" {field.policy.value} | {', '.join(notes)} |"
            )
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


def steps_table() -> str:
    """A Markdown table of every action: the states that allow it, and the state after it."""
    lines = ["| action | allowed in | then |", "|---|---|---|"]
    for action, (states, after) in TRANSITIONS.items():
        allowed = ", ".join(f"`{state}`" for state in STATES if state in states)
        allowed = (
            "any"
            if states == frozenset(STATES)
            else "any open state: " + allowed
            if states == OPEN
            else allowed
        )
        lines.append(
            f"| `{action}` {ACTIONS[action].zh} | {allowed} |"
            f" {f'`{after}`' if after else 'unchanged'} |"
        )
    return "\n".join(lines) + "\n"


TABLES = {"kinds": kinds_table, "steps": steps_table}


def written(text: str) -> str:
    """PROTOCOL.md with its tables as they should be."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        head, _, rest = text.partition(begin)
        text = head + begin + table() + end + rest.partition(end)[2]
    return text
