"""The walk for authors of apps names units that are there."""

import re
from pathlib import Path

import service

ROOT = Path(str(service.__file__)).parents[1]
ROSTER = ROOT / "service" / "organisation" / "data" / "baotou_divisions.csv"


def test_the_units_of_the_walk_are_in_the_roster() -> None:
    codes = {line.partition(",")[0] for line in ROSTER.read_text(encoding="utf-8").splitlines()}
    named = re.findall(r"\b1502\d{2,8}\b", (ROOT / "openapi" / "app.md").read_text("utf-8"))
    assert named
    assert {*named} <= codes
