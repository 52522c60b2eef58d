"""What is wrong with a request's body or parameters, as pydantic finds it, in texts of the
catalogue.
"""

import re
from typing import Any

from sync_protocol.texts import Text, text_of


def fault(item: Any) -> Text:
    """What pydantic found wrong with a value, as a text of the catalogue; what it says in words
    that are not there stays English.
    """
    kind, context = item["type"], item.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return form_in_words(context["pattern"])
    if kind in ("literal_error", "enum"):
        return _one_of(re.findall(r"'([^']*)'", context["expected"]) or [context["expected"]])
    if kind in OWN:
        return OWN[kind]
    own = context.get("error")
    if isinstance(own, Exception) and isinstance(said := text_of(own), Text):
        return said  # of a rule of ours, which has its own words
    template = FAULTS.get(kind)
    if template is None:
        return Text("{what}", what=item["msg"])
    made = Text(template, **context)
    return made if str(made) == item["msg"] else Text("{what}", what=item["msg"])


def form_in_words(pattern: str) -> Text:
    """What a text should look like that has to match a pattern: nobody is shown a regular
    expression.
    """
    chosen = re.fullmatch(r"\^\(([a-z_]+(?:\|[a-z_]+)*)\)\$", pattern)
    if chosen:
        return _one_of(chosen[1].split("|"))
    several = re.fullmatch(r"\^\(([a-z_|]+)\)\(,\(\1\)\)\*\$", pattern)
    if several:
        return Text(
            "Input should be one or more of these, with commas between: {values}",
            values=", ".join(several[1].split("|")),
        )
    return FORMS.get(pattern) or Text(
        "The text does not have the form that is wanted here; see the API's documentation"
    )


def _one_of(values: list[str]) -> Text:
    return Text("Input should be one of these: {values}", values=", ".join(values))


# What pydantic says most often; the rest stays English.
FAULTS = {
    "missing": "Field required",
    "too_short": "There should be at least {min_length} of them, and there are {actual_length}",
    "too_long": "There should be at most {max_length} of them, and there are {actual_length}",
    "extra_forbidden": "Extra inputs are not permitted",
    "string_type": "Input should be a valid string",
    "string_too_short": "String should have at least {min_length} characters",
    "string_too_long": "String should have at most {max_length} characters",
    "int_type": "Input should be a valid integer",
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "int_from_float": "Input should be a valid integer, got a number with a fractional part",
    "float_type": "Input should be a valid number",
    "float_parsing": "Input should be a valid number, unable to parse string as a number",
    "finite_number": "Input should be a finite number",
    "bool_type": "Input should be a valid boolean",
    "bool_parsing": "Input should be a valid boolean, unable to interpret input",
    "dict_type": "Input should be a valid dictionary",
    "model_attributes_type": "Input should be a valid dictionary or object to extract fields from",
    "list_type": "Input should be a valid list",
    "greater_than_equal": "Input should be greater than or equal to {ge}",
    "less_than_equal": "Input should be less than or equal to {le}",
    "timezone_aware": "Input should have timezone info",
    "json_invalid": "JSON decode error",
}

# Of one character pydantic says it otherwise.
SINGULAR = (
    "String should have at least 1 character",
    "String should have at most 1 character",
)

_UUID = Text("Input should be a UUID, as in 0192f3a1-0000-7000-8000-000000000001")
_DATE = Text("Input should be a day that exists, as in 2026-11-24")
_MOMENT = Text("Input should be a time with its offset, as in 2026-11-24T09:00:00+08:00")

# Where pydantic explains a reason in English.
OWN = {
    "uuid_parsing": _UUID,
    "uuid_type": _UUID,
    "date_type": _DATE,
    "date_parsing": _DATE,
    "date_from_datetime_parsing": _DATE,
    "date_from_datetime_inexact": _DATE,
    "datetime_type": _MOMENT,
    "datetime_parsing": _MOMENT,
    "datetime_from_date_parsing": _MOMENT,
}

_NO_NUL = Text("The text should have no character U+0000")
_VISIBLE = Text("The text should be visible characters of ASCII, without spaces")
_UNIT = Text("Input should be the code of a unit, 4, 6, 9, 12 or 15 digits as in 150202100")

# Each pattern that a client, or an operator, can meet.
FORMS = {
    r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$": _UUID,
    r"^\d{4}-W\d{2}$": Text("Input should be an ISO week, as in 2026-W47"),
    r"^\d{4}-\d{2}$": Text("Input should be a month, as in 2026-11"),
    r"^(\d{1,2}(,\d{1,2})*)?$": Text(
        "Input should be numbers of digits with commas between, as in 4,6,9,12,15: of the codes of"
        " each level from the topmost down; or empty"
    ),
    r"^\d{1,15}$": Text("Input should be the code of a unit, 1 to 15 digits as in 150202100"),
    r"^(period|today|\d{4}-\d{2}-\d{2})$": Text(
        "Input should be period, today, or a day as in 2026-11-24"
    ),
    r"^[a-z][a-z0-9_]{0,39}$": Text(
        "Input should be a short name of small letters from a to z, digits and _ that begins with a"
        " letter, as in village or large_family"
    ),
    r"^[a-z][a-z0-9_-]{2,39}$": Text(
        "Input should be a client_id, 3 to 40 small letters, digits, - and _ that begin with a"
        " letter"
    ),
    r"^[^\x00-\x1f]{1,40}$": Text("The text should have 1 to 40 characters, all of them visible"),
    r"^\d{4,12}$": _UNIT,
    r"^\d{4,15}$": _UNIT,
    r"^\d{4}(?:\d{2}(?:\d{3}(?:\d{3}(?:\d{3})?)?)?)?$": _UNIT,
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$": Text(
        "Input should be a staff code, as in W150202100200001-1"
    ),
    r"^[^\x00-\x1f]+$": Text("Input should be a staff code, without control characters"),
    r"^[^\x00]+$": Text("The text should not be empty, and have no character U+0000"),
    r"^[^\x00]*$": _NO_NUL,
    r"^[!-~]+$": _VISIBLE,
    r"^[!-~]*$": _VISIBLE,
    r"^[a-z-]+$": Text(
        "Input should be the name of an action, small letters and hyphens as in signed-in"
    ),
    r"^[0-9A-Za-z -]+$": Text(
        "Input should be a code of digits and letters, as in 287082 or 7K3M9-Q2FXW"
    ),
    r"^[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]{4}$": Text(
        "Input should be the number of a receipt, three groups as in 7K3M-Q2FX-W8RD"
    ),
    r"^[0-9a-f]{64}$": Text("Input should be a SHA-256 digest, 64 digits and letters from a to f"),
    r"^[a-z_][a-z0-9_]{0,62}$": Text(
        "Input should be the name of a role, small letters, digits and _, at most 63"
    ),
}
