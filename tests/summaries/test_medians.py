"""Medians are exact also where only the problems of one band of hours are read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.summaries import medians
from service.tallies.bands import BEGINS, band_of, bounds_of_band
from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol import periods
from tests.tallies.test_recount import History
from tests.world import World

AT = datetime(2026, 11, 1, tzinfo=UTC)


@given(st.integers(-(10**6), 2 * 10**7) | st.sampled_from(BEGINS), st.integers(0, 999_999))
def test_a_problem_lies_within_the_bounds_of_its_band(seconds: int, micros: int) -> None:
    took = timedelta(seconds=seconds, microseconds=micros)
    low, high = bounds_of_band(band_of(AT, AT + took))
    assert low <= took < high


def test_bands_follow_on_each_other() -> None:
    for band in range(len(BEGINS)):
        assert bounds_of_band(band)[1] == bounds_of_band(band + 1)[0]


@pytest.mark.parametrize("seed", range(2))
async def test_the_median_of_a_band_is_that_of_all_hours(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(medians, "FEW", -1)
    history = History(world, 300 + seed)
    await history.live(120)
    await history.read()
    dues = {
        str(row["problem"]): row["due"]
        for row in await world.fetch("SELECT problem, due FROM case_file")
    }
    now, seen = world.clock.now(), 0
    for name in ("2026-W46", "2026-W47", "2026-11", "2026-Q4", "2026-H2", "2026"):
        kind = periods.kind_of(name)
        period = getattr(periods, kind)(name)
        answer = (await world.get("/v1/summaries", unit=TOWNSHIP, **{kind: name})).json()
        for unit, totals in (
            (TOWNSHIP, answer["totals"]),
            *((row["unit"]["code"], row["totals"]) for row in answer["units"]),
        ):
            wanted = history.totals(unit, period, now, dues)["median_hours_to_resolve"]
            assert totals["median_hours_to_resolve"] == pytest.approx(wanted), (unit, name)
            seen += unit == VILLAGE and wanted is not None
        before = history.totals(TOWNSHIP, periods.previous(period), now, dues)
        shown = answer["previous"]["median_hours_to_resolve"]
        assert shown == pytest.approx(before["median_hours_to_resolve"]), name
    assert seen
