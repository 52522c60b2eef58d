"""Stamps and their correction (promise 6)."""

from hypothesis import given
from hypothesis import strategies as st

from sync_protocol import clock
from sync_protocol.clock import (
    ZERO,
    HybridClock,
    correct_stamps,
    effective_offset,
    make_stamp,
    stamp_ms,
)

NOW = 1_795_000_000_000


def test_a_stamp_is_twelve_digits_of_time_and_four_of_counter() -> None:
    assert make_stamp(0x0192F3A1B2C3, 0x1F) == "0192f3a1b2c3001f"
    assert stamp_ms("0192f3a1b2c3001f") == 0x0192F3A1B2C3


def test_stamps_rise_while_the_wall_clock_stands_still() -> None:
    ticks = HybridClock(lambda: NOW)
    assert [ticks.tick() for _ in range(3)] == [make_stamp(NOW, n) for n in range(3)]


def test_stamps_rise_when_the_wall_clock_slips_back_a_little() -> None:
    wall = iter([NOW, NOW, NOW - 500, NOW - 500, NOW - 500])
    ticks = HybridClock(lambda: next(wall))
    first = ticks.tick()
    assert ticks.tick() > first


def test_a_clock_that_was_put_right_is_followed_back() -> None:
    wall = [NOW + 48 * 3_600_000]
    ticks = HybridClock(lambda: wall[0])
    ticks.tick()
    wall[0] = NOW
    assert stamp_ms(ticks.tick()) == NOW


def test_what_a_network_adds_is_no_offset() -> None:
    assert effective_offset(NOW, NOW - 1_500) == 0
    assert effective_offset(NOW, NOW - 5_000) == 5_000
    assert effective_offset(NOW, NOW + 86_400_000) == -86_400_000


def test_a_clock_years_wrong_either_way_is_corrected() -> None:
    for ahead in (10 * 365 * 86_400_000, -10 * 365 * 86_400_000, 7_000):
        made = make_stamp(NOW - 60_000 + ahead)
        assert correct_stamps([made], -ahead, NOW, ZERO) == [make_stamp(NOW - 60_000)]


def test_an_edit_before_the_clock_was_put_back_is_drawn_to_the_one_after() -> None:
    wrong, right = make_stamp(NOW + 48 * 3_600_000), make_stamp(NOW - 3_600_000)
    first, second = correct_stamps([wrong, right], 0, NOW, ZERO)
    assert first < second
    assert stamp_ms(first) == stamp_ms(second) == NOW - 3_600_000


def test_a_stamp_from_before_there_was_the_device_draws_no_other_back() -> None:
    right, stale, after = (
        make_stamp(NOW - ms) for ms in (3_600_000, 3_000 * 86_400_000, 1_800_000)
    )
    oldest = make_stamp(NOW - 90 * 86_400_000)
    assert correct_stamps([right, stale, after], 0, NOW, ZERO, oldest) == [
        right,
        clock.successor(right),
        after,
    ]
    assert correct_stamps([stale, right], 0, NOW, ZERO, oldest) == [stale, right]


@given(
    st.lists(st.integers(0, 2**41).map(make_stamp), max_size=12),
    st.integers(0, NOW).map(make_stamp),
    st.data(),
)
def test_what_is_too_old_does_not_depend_on_how_a_phone_parts_its_mutations(
    made: list[str], oldest: str, data: st.DataObject
) -> None:
    """Nothing that came before a stamp is held for it; a clock put back within the plausible is
    another matter.
    """
    made = [
        stamp
        for stamp in made
        if stamp < oldest or not any(oldest <= later < stamp for later in made)
    ]
    cut = data.draw(st.integers(0, len(made)))
    whole = correct_stamps(made, 0, NOW, ZERO, oldest)
    first = correct_stamps(made[:cut], 0, NOW, ZERO, oldest)
    second = correct_stamps(made[cut:], 0, NOW, first[-1] if first else ZERO, oldest)
    assert [stamp < oldest for stamp in whole] == [stamp < oldest for stamp in first + second]


stamps = st.lists(st.builds(make_stamp, st.integers(0, 2**47), st.integers(0, 65535)), max_size=30)


@given(stamps, st.integers(-(2**40), 2**40), st.integers(0, NOW))
def test_corrected_stamps_keep_the_order_of_seq_and_never_pass_now(
    made: list[str], offset: int, last_ms: int
) -> None:
    last = make_stamp(last_ms)
    corrected = correct_stamps(made, offset, NOW, last)
    assert all(
        earlier < later for earlier, later in zip([last, *corrected], corrected, strict=False)
    )
    # Only counting up within the millisecond may pass the server's now.
    assert all(int(stamp, 16) <= NOW * 65536 + 65535 + len(made) for stamp in corrected)


def test_is_stamp_takes_sixteen_lower_hex_digits_only() -> None:
    assert clock.is_stamp("0192f3a1b2c3001f")
    assert not any(
        map(clock.is_stamp, ("0192F3A1B2C3001F", "0192f3a1b2c3001", "0192f3a1b2c3001g", None, 16))
    )
