"""The forms of the steps of a problem: what each asks for, and what it sends."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from service.kit.errors import INVALID, Problem
from service.pages.filters import day_of
from sync_protocol.texts import Text, Word
from sync_protocol.vocabulary import ACTIONS

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class StepForm(NamedTuple):
    """A form: the action, what it says of it, the fields beside the note, and whether the note must
    be there.
    """

    action: str
    meaning: Text
    fields: tuple[str, ...] = ()
    needs_note: bool = False

    @property
    def label(self) -> Word:
        """What the action is called."""
        return Word(ACTIONS[self.action].en, ACTIONS[self.action].zh)


FORMS: Mapping[str, StepForm] = {
    form.action: form
    for form in (
        StepForm("accept", Text("You take it on.")),
        StepForm("assign", Text("Somebody else deals with it."), fields=("to_cadre", "to_unit")),
        StepForm("handle", Text("Work on it has begun.")),
        StepForm("resolve", Text("It is done; say how."), fields=("answer",)),
        StepForm("verify", Text("Somebody asked on the spot."), fields=("satisfied",)),
        StepForm("close", Text("Nothing is left to do.")),
        StepForm("return", Text("It goes back to who had it before."), needs_note=True),
        StepForm("reopen", Text("It is not done after all."), needs_note=True),
        StepForm("escalate", Text("The unit above deals with it.")),
        StepForm("extend", Text("It gets more time."), fields=("until",)),
        StepForm("reject", Text("It counts nowhere."), fields=("reason", "answer")),
        StepForm("join", Text("It is the same as another one."), fields=("duplicate_of",)),
        StepForm(
            "note",
            Text("Something to know; the state stays."),
            fields=("answer",),
            needs_note=True,
        ),
    )
}


def fields_of(action: str, typed: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a step from what was typed; raises `Problem` for what is missing."""
    form = FORMS[action]
    found: dict[str, Any] = {}
    for name in ("note", *form.fields):
        text = typed[name].strip()
        if text:
            found[name] = _value(name, text)
    if form.needs_note and "note" not in found:
        raise Problem(INVALID, "Write in the note why, or what there is to know.")
    needed = [name for name in form.fields if name not in _OPTIONAL]
    if needed and not found.keys() & {*needed}:
        raise Problem(INVALID, _MISSING[needed[0]])
    return found


_OPTIONAL = ("satisfied", "answer")
_MISSING: Mapping[str, Text] = {
    "to_cadre": Text("Choose somebody, or a unit, to whom it is assigned."),
    "until": Text("Say up to which day it has time."),
    "reason": Text("Choose why it is not accepted."),
    "duplicate_of": Text("Give the other problem: its address or its id."),
}


def _value(name: str, text: str) -> str:
    if name == "until":
        # To the end of that day in Asia/Shanghai.
        return f"{day_of(text)}T23:59:59+08:00"
    if name == "duplicate_of":
        found = _UUID.search(text)
        if found is None:
            raise Problem(INVALID, _MISSING[name])
        return found[0].lower()
    return text
