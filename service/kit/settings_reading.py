"""Reads the settings from the environment, and says what is wrong with them."""

import difflib
import logging
import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from service.kit.settings import PREFIX, Settings
from service.kit.validation_errors import fault
from sync_protocol.texts import Text, text_of

log = logging.getLogger("gridloop")
# Names that settings had in the previous release, and what they are called now.
FORMER_NAMES: Mapping[str, str] = {"GRIDLOOP_SYNC_AT_ONCE": "sync_max_concurrency"}
# What tests and CI read, and what Kubernetes sets in every pod beside a service of that name.
_NO_SETTING = re.compile(
    r"GRIDLOOP_(TEST_.*|BENCH_.*|NO_SKIPS|SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_[0-9]+_.*)?)"
)


class WrongSetting(Exception):
    """A setting cannot be used; its text names it, and says what to write instead."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings of the environment; raises `WrongSetting`, also for a name that is none: it may
    be a misspelt one.
    """
    given = os.environ if environment is None else environment
    refuse_unknown(given)
    try:
        return Settings(**_by_former_names(given))
    except ValidationError as error:
        wrong = [
            Text("{setting}: {what}", setting=name_of(str(item["loc"][0])), what=_what(item))
            for item in error.errors()
        ]
        raise WrongSetting(Text("{wrong}.", wrong=wrong)) from None


def _by_former_names(environment: Mapping[str, str]) -> dict[str, Any]:
    """The settings that are given by a name which they had in the previous release, each with a
    warning.
    """
    found = {}
    for name, value in environment.items():
        field = FORMER_NAMES.get(name.upper())
        if field is None or name_of(field) in environment:
            continue
        log.warning(
            "the setting %s is called %s now; the old name goes with the next release",
            name,
            name_of(field),
        )
        found[field] = value
    return found


def name_of(field: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + field.upper()


def _what(item: Any) -> str:
    """What is wrong with a setting; never its value, which may be a secret."""
    error = item.get("ctx", {}).get("error")
    return text_of(error) if isinstance(error, ValueError) else fault(item)


def refuse_unknown(environment: Mapping[str, str]) -> None:
    """Raises `WrongSetting` for a variable `GRIDLOOP_…` that is no setting."""
    known = [name_of(field) for field in Settings.model_fields]
    for name in sorted(environment):
        if (
            not name.upper().startswith(PREFIX)
            or name.upper() in {*known, *FORMER_NAMES}
            or _NO_SETTING.fullmatch(name.upper())
        ):
            continue
        nearest = difflib.get_close_matches(name.upper(), known, 1)
        if nearest:
            raise WrongSetting(
                Text(
                    "There is no setting {name}; is {nearest} meant? Rename it, or leave it out.",
                    name=name,
                    nearest=nearest[0],
                )
            )
        raise WrongSetting(
            Text(
                "There is no setting {name}; leave it out. docs/operations/running.md lists all"
                " settings.",
                name=name,
            )
        )
