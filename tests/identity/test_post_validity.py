"""The spell of a post in stamps: it says the same as the post does of moments."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from service.identity.rights import PostHeld
from sync_protocol.clock import make_stamp
from sync_protocol.periods import from_ms, to_ms

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
near = st.integers(-3_000, 3_000).map(
    lambda microseconds: NOON + timedelta(microseconds=microseconds)
)


@given(begins=near, ends=st.none() | near, ms=st.integers(-4, 4), counter=st.integers(0, 0xFFFF))
@example(
    begins=datetime(1, 1, 1, tzinfo=UTC), ends=datetime.max.replace(tzinfo=UTC), ms=0, counter=0
)
def test_a_stamp_lies_in_the_spell_when_its_moment_lies_in_the_post(
    begins: datetime, ends: datetime | None, ms: int, counter: int
) -> None:
    post = PostHeld("grid_worker", "150202100200001", begins, ends)
    now = to_ms(NOON) + ms
    first, after = post.validity()
    assert (first <= make_stamp(now, counter) < after) is post.valid_at(from_ms(now))
