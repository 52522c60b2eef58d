"""What is wrong with a request's body or parameters, as pydantic finds it, in texts of the catalogue."""

from typing import Any

from sync_protocol.texts import Text


def fault(item: Any) -> Text:
    """What pydantic found wrong with a value, as a text of the catalogue."""
    template = FAULTS.get(item["type"])
    if template is None:
        return Text("{what}", what=item["msg"])
    made = Text(template, **item.get("ctx", {}))
    return made if str(made) == item["msg"] else Text("{what}", what=item["msg"])


# What pydantic says most often; the rest stays English.
FAULTS = {
    "missing": "Field required",
    "extra_forbidden": "Extra inputs are not permitted",
    "string_type": "Input should be a valid string",
    "string_too_short": "String should have at least {min_length} characters",
    "string_too_long": "String should have at most {max_length} characters",
    "string_pattern_mismatch": "String should match pattern '{pattern}'",
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
    "literal_error": "Input should be {expected}",
    "enum": "Input should be {expected}",
    "uuid_parsing": "Input should be a valid UUID, {error}",
    "date_from_datetime_parsing": "Input should be a valid date or datetime, {error}",
    "datetime_from_date_parsing": "Input should be a valid datetime or date, {error}",
    "datetime_parsing": "Input should be a valid datetime, {error}",
    "date_parsing": "Input should be a valid date in the format YYYY-MM-DD, {error}",
    "timezone_aware": "Input should have timezone info",
    "json_invalid": "JSON decode error",
}

# Of one character pydantic says it otherwise.
SINGULAR = (
    "String should have at least 1 character",
    "String should have at most 1 character",
)
