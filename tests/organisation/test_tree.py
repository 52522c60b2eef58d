"""The tree of units as of a day: what lies under what, and in which ranges of codes."""

from datetime import date, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit.conditions import Range
from service.organisation.tree import ALWAYS, BY_CODES, LevelFacts, Spell, Tree, UnitFacts

DAY = date(2026, 11, 24)
TOWN, OTHER_TOWN = "150221100", "150221104"
VILLAGE, OTHER_VILLAGE = TOWN + "201", TOWN + "202"


def a_tree(*moves: tuple[str, str, date]) -> Tree:
    """Two townships with two villages of two grids each, in which villages have moved."""
    codes: list[tuple[str, str, str | None]] = [
        ("1502", "city", None),
        ("150221", "banner", "1502"),
    ]
    for town in (TOWN, OTHER_TOWN):
        codes.append((town, "township", "150221"))
        for village in (town + "201", town + "202"):
            codes.append((village, "village", town))
            codes += [(village + number, "grid", village) for number in ("001", "002")]
    spells: dict[str, list[Spell]] = {}
    for unit, parent, day in moves:
        before = spells.setdefault(unit, [Spell(unit[:9], ALWAYS, None)])
        before[-1] = before[-1]._replace(valid_to=day)
        before.append(Spell(parent, day, None))
    return Tree(
        "1",
        [
            UnitFacts(code, level, parent, spells=tuple(spells.get(code, ())))
            for code, level, parent in codes
        ],
    )


def test_a_unit_below_which_nothing_moved_has_the_range_of_its_code() -> None:
    tree = a_tree()
    assert tree.ranges(TOWN, DAY) == (Range(TOWN, TOWN + ":"),)
    subtree = tree.subtree(TOWN, DAY)
    assert subtree.under("grid") == "grid >= $1 AND grid < $1 || ':'"
    assert tree.covers(TOWN, VILLAGE + "001", DAY)
    assert not tree.covers(OTHER_TOWN, VILLAGE, DAY)


def test_a_village_that_moves_is_a_hole_here_and_a_range_there() -> None:
    tree = a_tree((VILLAGE, OTHER_TOWN, DAY))
    before = DAY - timedelta(days=1)
    assert tree.ranges(TOWN, before) == (Range(TOWN, TOWN + ":"),)
    assert tree.ranges(TOWN, DAY) == (Range(TOWN, VILLAGE), Range(VILLAGE + ":", TOWN + ":"))
    assert tree.ranges(OTHER_TOWN, DAY) == (
        Range(VILLAGE, VILLAGE + ":"),
        Range(OTHER_TOWN, OTHER_TOWN + ":"),
    )
    # Within the banner nothing is seen of it.
    assert tree.ranges("150221", DAY) == (Range("150221", "150221:"),)
    assert tree.covers(TOWN, VILLAGE + "001", before)
    assert tree.covers(OTHER_TOWN, VILLAGE + "001", DAY)
    assert not tree.covers(TOWN, VILLAGE + "001", DAY)
    assert tree.above(VILLAGE + "001", DAY) == [VILLAGE, OTHER_TOWN, "150221", "1502"]
    assert tree.children(TOWN, DAY) == [OTHER_VILLAGE]
    assert VILLAGE in tree.children(OTHER_TOWN, DAY)


def test_what_lies_below_falls_to_the_unit_that_has_it_on_the_day() -> None:
    tree = a_tree((VILLAGE, OTHER_TOWN, DAY))
    sql = tree.breakdown("150221", DAY).unit_of("grid", "$3")
    assert f"WHEN (grid >= '{VILLAGE}' AND grid < '{VILLAGE}:') THEN '{OTHER_TOWN}'" in sql
    assert sql.endswith("ELSE left(grid, $3) END)")
    plain = tree.breakdown("150221", DAY - timedelta(days=1))
    assert (plain.unit_of("grid", "$3"), plain.width) == ("left(grid, $3)", 9)


def test_a_code_that_is_no_unit_lies_where_its_digits_say() -> None:
    tree = a_tree((VILLAGE, OTHER_TOWN, DAY))
    assert tree.covers(OTHER_TOWN, VILLAGE + "999", DAY)
    assert tree.above(VILLAGE + "999", DAY)[0] == VILLAGE
    assert BY_CODES.above("150221100201001", DAY) == [
        "150221100201",
        "150221100",
        "150221",
        "1502",
    ]


def test_levels_are_those_of_the_table() -> None:
    levels = [
        LevelFacts("land", 1, "州", "land", False),
        LevelFacts("shire", 2, "郡", "shire", True),
        LevelFacts("parish", 3, "教区", "parish", True),
        LevelFacts("grid", 4, "街坊", "court", True),
    ]
    # Codes that do not nest, in no order.
    units = [
        UnitFacts("7", "land", None),
        UnitFacts("31", "shire", "7"),
        UnitFacts("20", "shire", "7"),
        UnitFacts("905", "parish", "20"),
        UnitFacts("311", "parish", "20"),
        UnitFacts("4", "grid", "311"),
        UnitFacts("90", "grid", "905"),
    ]
    tree = Tree("1", units, levels)
    assert [tree.height(code) for code in ("7", "31", "311", "4")] == [3, 2, 1, 0]
    assert tree.sees_tags("31")
    assert not tree.sees_tags("7")
    assert tree.above("4", DAY) == ["311", "20", "7"]
    assert not tree.covers("31", "311", DAY)
    assert tree.covers("20", "4", DAY)
    assert tree.topmost(["4", "20", "31"], DAY) == ["20", "31"]
    assert [one.low for one in tree.ranges("20", DAY)] == ["20", "311", "4", "90"]


def test_a_grid_owes_its_logs_from_the_nearest_day_on_which_its_units_go_live() -> None:
    units = [
        UnitFacts("1502", "city", None, go_live=date(2026, 12, 1)),
        UnitFacts("150221", "banner", "1502", go_live=date(2026, 11, 2)),
        UnitFacts("150221100201001", "grid", "150221", since=date(2026, 11, 9)),
        UnitFacts("150222100201001", "grid", "1502"),
        UnitFacts("150222100201002", "grid", "1502", closed=date(2026, 12, 3)),
    ]
    tree = Tree("1", units)
    assert tree.owes_from("150221100201001", DAY) == date(2026, 11, 9)
    assert tree.owes_from("150222100201001", DAY) == date(2026, 12, 1)
    grids = [unit.code for unit in units if unit.level == "grid"]
    assert tree.grids(grids, date(2026, 11, 2), date(2026, 11, 8)).total == 2
    found = tree.grids(grids, date(2026, 12, 1), date(2026, 12, 31))
    assert (found.total, set(found.parts)) == (3, {"150222100201002"})
    assert tree.grids(grids, date(2027, 1, 1), date(2027, 1, 31)).total == 2


@st.composite
def living_trees(draw: st.DrawFn) -> tuple[Tree, dict[date, dict[str, str | None]]]:
    """A tree with codes of few digits, in which units have moved, and its parents of each day."""
    codes = draw(st.lists(st.text("012", min_size=1, max_size=4), min_size=2, unique=True))
    parents: dict[str, str | None] = {codes[0]: None}
    for code in codes[1:]:
        parents[code] = draw(st.sampled_from(sorted(parents)))
    made = dict(parents)
    spells: dict[str, list[Spell]] = {}
    days = {DAY: dict(parents)}
    for number in range(1, draw(st.integers(1, 5))):
        day = DAY + timedelta(days=number)
        for unit in draw(st.lists(st.sampled_from(codes[1:]), max_size=3, unique=True)):
            to = draw(st.sampled_from(codes))
            above: str | None = to
            while above is not None and above != unit:
                above = parents[above]
            if above == unit:
                continue  # would lie under itself
            some = spells.setdefault(unit, [Spell(made[unit], ALWAYS, None)])
            some[-1] = some[-1]._replace(valid_to=day)
            some.append(Spell(to, day, None))
            parents[unit] = to
        days[day] = dict(parents)
    units = [
        UnitFacts(code, "grid", made[code], spells=tuple(spells.get(code, ()))) for code in codes
    ]
    return Tree("1", units), days


def lies_under(parents: dict[str, str | None], top: str, below: str) -> bool:
    """By walking up."""
    at: str | None = below
    while at is not None:
        if at == top:
            return True
        at = parents[at]
    return False


@settings(max_examples=300, deadline=None)
@given(living_trees())
def test_ranges_hold_exactly_what_lies_below_on_the_day(
    made: tuple[Tree, dict[date, dict[str, str | None]]],
) -> None:
    tree, days = made
    for day, parents in days.items():
        unlike = {code for code, _ in tree.unlike_their_codes(day)}
        for top in parents:
            ranges = tree.ranges(top, day)
            assert all(one.low < one.high for one in ranges)
            assert all(one.high < two.low for one, two in pairwise(ranges))
            assert (ranges != (Range(top, top + ":"),)) == (top in unlike)
            for code in parents:
                expected = lies_under(parents, top, code)
                assert tree.covers(top, code, day) == expected
                assert any(one.low <= code < one.high for one in ranges) == expected
