"""The invented notes of the demo: texts of visits, problems and resolutions by duty."""

import csv
from collections import defaultdict
from importlib.resources import files


def notes() -> dict[tuple[str, str], list[str]]:
    """`(duty, kind) -> texts`; kind is visit, problem or resolution."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    with files("service.demo").joinpath("data/sample_notes.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found[row["duty"], row["kind"]].append(row["text"])
    return found
