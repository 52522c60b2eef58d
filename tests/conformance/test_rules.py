"""The vectors are tested: a small client passes all of them, and every way to break it is noticed
by one at least.
"""

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.conformance import rules
from tests.conformance.breaks import BREAKS, Break
from tests.conformance.rules_against import wrong

SOURCE = Path(str(rules.__file__)).read_text(encoding="utf-8")


def broken(one: Break) -> ModuleType:
    """The rules with one of them broken."""
    assert SOURCE.count(one.right) == 1, (
        f"{one.name}: stands {SOURCE.count(one.right)} times in rules.py"
    )
    module = ModuleType("broken")
    exec(compile(SOURCE.replace(one.right, one.wrong), one.name, "exec"), module.__dict__)
    return module


def test_the_rules_pass_every_vector() -> None:
    assert [*wrong(rules)] == []


def test_the_rules_import_nothing_of_what_they_write_again() -> None:
    assert re.findall(r"^(?:from|import) (\S+)", SOURCE, re.MULTILINE)
    assert "sync_protocol" not in SOURCE


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.name)
def test_a_break_is_noticed(one: Break) -> None:
    assert next(wrong(broken(one)), None) is not None, f"no vector notices: {one.name}"
