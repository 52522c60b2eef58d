"""Runs of grids that owe alike: together they are the grids that are there, each once."""

import random
from datetime import date, timedelta

import pytest

from service.organisation.owing import Owed, Run, Span, codes_of, runs
from service.organisation.tree import Tree, UnitFacts

TODAY = date(2026, 11, 20)
FIRST, LAST = date(2026, 10, 1), date(2026, 12, 31)


def some_day(rng: random.Random) -> date | None:
    """None more often than not, or a day in, before or behind the span."""
    return TODAY + timedelta(days=rng.randint(-150, 100)) if rng.random() < 0.2 else None


def a_tree(rng: random.Random) -> Tree:
    units = [UnitFacts("1502", "city", None)]
    for banner in ("150202", "150203"):
        units.append(UnitFacts(banner, "banner", "1502", go_live=some_day(rng)))
        for place in range(6):
            village = f"{banner}100{place:03}"
            units.append(UnitFacts(village, "village", banner, go_live=some_day(rng)))
            units += [
                UnitFacts(f"{village}{n:03}", "grid", village, some_day(rng), some_day(rng))
                for n in range(1, rng.randint(1, 5))
            ]
    return Tree(str(rng.random()), units)


def owed_by(tree: Tree, grid: str) -> Owed | None:
    unit = tree.units[grid]
    return Owed(unit.since, unit.closed, tree.owes_from(grid, TODAY)).within(FIRST, LAST)


def check(tree: Tree, found: tuple[Run, ...], wanted: set[str]) -> None:
    named = [grid for run in found for grid in codes_of(tree, run)]
    assert len(named) == len(set(named))
    assert set(named) == wanted
    for run in found:
        grids = codes_of(tree, run)
        assert len(grids) == run.grids
        assert {owed_by(tree, grid) for grid in grids} == {run.owed}
        if run.are_villages:
            villages = {grid[:12] for grid in grids}
            assert set(grids) == {code for code in tree.units if code[:12] in villages and
                                  tree.units[code].level == "grid"}  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_every_grid_that_is_there_stands_in_one_run_with_those_that_owe_alike(seed: int) -> None:
    rng = random.Random(seed)
    tree = a_tree(rng)
    span = Span(FIRST, LAST, TODAY)
    for unit in ("1502", "150203", "150202100002"):
        there = {
            code
            for code, facts in tree.units.items()
            if facts.level == "grid" and code.startswith(unit) and owed_by(tree, code) is not None
        }
        check(tree, runs(tree, unit, TODAY, span), there)
        without = {code for code in there if rng.random() < 0.3}
        check(tree, runs(tree, unit, TODAY, span, without), there - without)
        # A calendar of its own makes runs of its own.
        other = runs(tree, unit, TODAY, span, calendar_of=lambda grid: int(grid[11] in "12"))
        check(tree, other, there)
        for run in other:
            assert {int(grid[11] in "12") for grid in codes_of(tree, run)} == {run.calendar}


def test_grids_of_one_banner_that_owe_all_are_one_run() -> None:
    units = [UnitFacts("1502", "city", None)]
    for banner in ("150202", "150203"):
        units.append(UnitFacts(banner, "banner", "1502"))
        for village in (f"{banner}100001", f"{banner}100002"):
            units.append(UnitFacts(village, "village", banner))
            units += [UnitFacts(f"{village}00{n}", "grid", village) for n in (1, 2)]
    found = runs(Tree("plain", units), "1502", TODAY, Span(FIRST, LAST, TODAY))
    assert [(run.unit, run.grids, run.are_villages) for run in found] == [
        ("150202", 4, True),
        ("150203", 4, True),
    ]
