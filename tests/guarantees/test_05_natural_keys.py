"""Promise 5: records with a natural key have a computed id, so that two phones offline make the
same record.
"""

import uuid

from sync_protocol.ids import monthly_summary_id, uuid7, weekly_analysis_id
from tests.world import GRID, SECRETARY, WORKER, World


async def test_two_phones_write_the_same_analysis_offline_as_one_record(world: World) -> None:
    one, two = world.phone(WORKER), world.phone(SECRETARY)
    for phone, field in ((one, "situation"), (two, "measures")):
        phone.put(
            "weekly_analysis", {"week": "2026-W47", field: phone.account.staff_code}, grid=GRID
        )
    for phone in (one, two, one):
        await phone.sync()
    [mine], [theirs] = one.records("weekly_analysis"), two.records("weekly_analysis", GRID)
    assert mine.id == weekly_analysis_id(GRID, "2026-W47")
    assert (
        mine.fields
        == theirs.fields
        == {"week": "2026-W47", "situation": WORKER, "measures": SECRETARY}
    )
    assert (await world.get("/v1/conflicts")).json()["items"] == []


async def test_an_id_that_does_not_follow_from_its_key_is_held(world: World) -> None:
    phone = world.wire()
    wrong = phone.mutation(
        1, "weekly_analysis", id=weekly_analysis_id(GRID, "2026-W46"), fields={"week": "2026-W47"}
    )
    other = phone.mutation(2, "monthly_summary", fields={"month": "2026-11"})
    right = phone.mutation(
        3, "monthly_summary", id=monthly_summary_id(GRID, "2026-11"), fields={"month": "2026-11"}
    )
    verdicts = (await phone.send(wrong, other, right)).json()["verdicts"]
    assert [verdict.get("reason") for verdict in verdicts] == ["id-wrong", "id-wrong", None]


def test_computed_ids_are_those_of_the_contract() -> None:
    namespace = uuid.uuid5(uuid.NAMESPACE_DNS, "gridloop")
    assert weekly_analysis_id(GRID, "2026-W47") == str(
        uuid.uuid5(namespace, f"weekly_analysis:{GRID}:2026-W47")
    )
    assert monthly_summary_id(GRID, "2026-11") == str(
        uuid.uuid5(namespace, f"monthly_summary:{GRID}:2026-11")
    )


def test_other_ids_are_uuids_of_version_7_that_sort_by_time() -> None:
    import random

    rng = random.Random(1)
    ids = [uuid.UUID(uuid7(ms, rng)) for ms in (1_795_000_000_000, 1_795_000_000_001)]
    assert [item.version for item in ids] == [7, 7]
    assert [item.variant for item in ids] == [uuid.RFC_4122] * 2
    assert ids[0] < ids[1]
