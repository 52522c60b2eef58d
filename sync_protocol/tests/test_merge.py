"""The merge rules (promises 3 and 4)."""

from typing import Any

import msgspec
import pytest

from sync_protocol.kinds import Kind
from sync_protocol.merge import create, merge
from sync_protocol.record_state import Edit, Loss, Record
from sync_protocol.records import HOUSEHOLD, PROBLEM, STEP, VISIT, WEEKLY_ANALYSIS
from sync_protocol.sets import SetChange

A, B, C = "aaaaaaaa", "bbbbbbbb", "cccccccc"
X = "150202100200001"
Y = "150202100200002"
Z = "150202100200003"


def edit(device: str, base: int, stamp: int, op: str = "put", grid: str = X, **fields: Any) -> Edit:
    return Edit("id", grid, op, base, f"{stamp:016x}", device, f"cadre {device[0]}", fields)


class Line:
    """A record and the edits that arrive at it one after another, from revision 1."""

    def __init__(self, kind: Kind, first: Edit) -> None:
        self.kind = kind
        self.rev = 1
        self.record: Record = create(kind, first, 1)
        self.losses: list[Loss] = []
        self.merged = False

    def then(self, *edits: Edit) -> "Line":
        for item in edits:
            self.rev += 1
            self.record, self.merged, losses = merge(self.kind, self.record, item, self.rev)
            self.losses += losses
        return self

    @property
    def fields(self) -> dict[str, Any]:
        return self.record.fields


def household(**fields: Any) -> Line:
    return Line(HOUSEHOLD, edit(C, 0, 1, **({"head_name": "苏和"} | fields)))


def test_an_edit_that_saw_the_record_replaces_without_conflict() -> None:
    line = household(phone="1").then(edit(A, 1, 5, phone="2"), edit(B, 2, 3, phone="3"))
    assert (line.fields["phone"], line.losses, line.merged) == ("3", [], False)


def test_two_phones_on_one_field_the_later_stamp_stays_and_the_other_is_kept_as_lost() -> None:
    for order in ((0, 1), (1, 0)):
        edits = [edit(A, 1, 5, phone="a"), edit(B, 1, 7, phone="b")]
        line = household(phone="0").then(*(edits[place] for place in order))
        assert line.fields["phone"] == "b"
        [loss] = line.losses
        assert (loss.kept, loss.lost, loss.lost_clock.device) == ("b", "a", A)
        assert loss.rule.startswith("latest")


def test_equal_stamps_are_decided_by_device() -> None:
    for order in ((0, 1), (1, 0)):
        edits = [edit(A, 1, 5, phone="a"), edit(B, 1, 5, phone="b")]
        assert household(phone="0").then(*(edits[place] for place in order)).fields["phone"] == "b"


def test_fields_changed_on_two_phones_without_overlap_do_not_conflict() -> None:
    line = household().then(edit(A, 1, 5, phone="1"), edit(B, 1, 3, members=4))
    assert (line.fields["phone"], line.fields["members"], line.losses, line.merged) == (
        "1",
        4,
        [],
        True,
    )


def test_equal_values_never_conflict_but_both_keep_their_claim() -> None:
    line = household(phone="0").then(edit(A, 1, 5, phone="x"), edit(B, 1, 6, phone="x"))
    assert line.losses == []
    line.then(edit(A, 1, 8, phone="y"))
    assert line.fields["phone"] == "y"
    assert [(loss.kept, loss.lost, loss.lost_clock.device) for loss in line.losses] == [
        ("y", "x", B)
    ]


def test_a_chain_of_offline_edits_is_no_conflict_with_itself() -> None:
    line = household(phone="0").then(
        *(edit(A, 1, stamp, phone=str(stamp)) for stamp in range(5, 9))
    )
    assert (line.fields["phone"], line.losses, line.merged) == ("8", [], False)


def test_a_chain_with_anothers_edit_in_between_conflicts_with_that_one_only() -> None:
    line = household(phone="0").then(
        edit(A, 1, 5, phone="a1"), edit(B, 1, 6, phone="b"), edit(A, 1, 7, phone="a2")
    )
    assert line.fields["phone"] == "a2"
    assert [(loss.kept, loss.lost) for loss in line.losses] == [("b", "a1"), ("a2", "b")]


def test_clearing_a_field_against_an_edit_is_a_conflict_like_any_other() -> None:
    line = household(phone="0").then(edit(A, 1, 9, phone=None), edit(B, 1, 5, phone="b"))
    assert "phone" not in line.fields
    assert [(loss.kept, loss.lost) for loss in line.losses] == [(None, "b")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_addition_wins_over_a_removal_of_the_same_element(order: tuple[int, int]) -> None:
    edits = [
        edit(A, 1, 5, tags=SetChange(add=("veteran",))),
        edit(B, 1, 9, tags=SetChange(remove=("veteran",))),
    ]
    line = household(tags=SetChange(add=("veteran", "disabled"))).then(
        *(edits[place] for place in order)
    )
    assert line.fields["tags"] == ["disabled", "veteran"]
    [loss] = line.losses
    assert (loss.lost, loss.lost_clock.device) == ({"remove": ["veteran"]}, B)


def test_a_removal_that_saw_the_addition_removes() -> None:
    line = household().then(
        edit(A, 1, 5, tags=SetChange(add=("veteran",))),
        edit(B, 2, 3, tags=SetChange(remove=("veteran",))),
    )
    assert "tags" not in line.fields
    assert line.losses == []


def test_different_elements_on_two_phones_do_not_conflict() -> None:
    line = household().then(
        edit(A, 1, 5, tags=SetChange(add=("veteran",))),
        edit(B, 1, 6, tags=SetChange(add=("disabled",))),
    )
    assert (line.fields["tags"], line.losses) == (["disabled", "veteran"], [])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_more_severe_of_two_concurrent_severities_stays(order: tuple[int, int]) -> None:
    edits = [edit(A, 1, 5, severity="emergency"), edit(B, 1, 9, severity="urgent")]
    line = Line(PROBLEM, edit(C, 0, 1, title="水管", severity="ordinary")).then(
        *(edits[place] for place in order)
    )
    assert line.fields["severity"] == "emergency"
    assert [loss.lost for loss in line.losses] == ["urgent"]


def test_a_severity_can_be_lowered_by_someone_who_saw_it() -> None:
    line = Line(PROBLEM, edit(C, 0, 1, severity="emergency")).then(
        edit(A, 1, 5, severity="ordinary")
    )
    assert (line.fields["severity"], line.losses) == ("ordinary", [])


def test_a_fixed_field_keeps_its_first_value_even_against_its_own_device() -> None:
    line = Line(PROBLEM, edit(C, 0, 1, source="visit")).then(edit(C, 1, 5, source="app"))
    assert line.fields["source"] == "visit"
    assert [(loss.kept, loss.lost) for loss in line.losses] == [("visit", "app")]


def test_of_two_texts_the_loser_is_kept_for_review() -> None:
    line = Line(VISIT, edit(C, 0, 1, content="0")).then(
        edit(A, 1, 5, content="甲"), edit(B, 1, 4, content="乙")
    )
    assert line.fields["content"] == "甲"
    assert [(loss.lost, loss.rule.split(":")[0]) for loss in line.losses] == [("乙", "text")]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_edit_wins_over_a_deletion_that_did_not_know_of_it(order: tuple[int, int]) -> None:
    edits = [edit(A, 1, 5, phone="1"), edit(B, 1, 9, op="delete")]
    line = household().then(*(edits[place] for place in order))
    assert not line.record.deleted
    assert line.fields["phone"] == "1"
    [loss] = line.losses
    assert (loss.field, loss.kept, loss.lost, loss.lost_clock.device) == ("deleted", False, True, B)


def test_a_deletion_that_saw_everything_deletes() -> None:
    line = household().then(edit(A, 1, 5, phone="1"), edit(B, 2, 6, op="delete"))
    assert (line.record.deleted, line.losses) == (True, [])


def test_own_edits_do_not_revive_what_the_same_phone_deleted_later() -> None:
    line = household().then(edit(A, 1, 5, phone="1"), edit(A, 1, 6, op="delete"))
    assert line.record.deleted


def test_two_phones_that_make_the_same_analysis_merge_field_by_field() -> None:
    line = Line(WEEKLY_ANALYSIS, edit(A, 0, 5, week="2026-W47", situation="甲"))
    line.then(edit(B, 0, 6, week="2026-W47", situation="乙", measures="丙"))
    assert line.fields == {"week": "2026-W47", "situation": "乙", "measures": "丙"}
    assert [loss.field for loss in line.losses] == ["situation"]


def test_a_repeated_step_changes_nothing() -> None:
    line = Line(STEP, edit(A, 0, 5, action="resolve", note="好"))
    line.then(edit(B, 0, 6, action="resolve", note="改"))
    assert line.fields["note"] == "好"
    assert [loss.lost for loss in line.losses] == ["改"]


def test_a_base_of_another_epoch_means_nothing_and_stamps_decide() -> None:
    late = edit(B, 99, 3, phone="b")
    late.rebased = True
    line = household(phone="0").then(edit(A, 1, 5, phone="a"), late)
    assert line.fields["phone"] == "a"
    assert [loss.lost for loss in line.losses] == ["b"]


def test_a_stale_edit_of_a_record_that_moved_does_not_move_it_back() -> None:
    line = household(phone="0").then(edit(A, 1, 5, grid=Y), edit(B, 50, 6, grid=X, phone="1"))
    assert (line.record.grid, line.fields["phone"]) == (Y, "1")


def test_a_decision_overrules_every_policy() -> None:
    decided = edit(B, 2, 9, source="app")
    decided.override = True
    line = Line(PROBLEM, edit(C, 0, 1, source="visit")).then(decided)
    assert (line.fields["source"], line.losses) == ("app", [])


def test_a_stale_edit_that_saw_all_there_was_before_the_move_conflicts_with_nothing_older() -> None:
    line = household(phone="0").then(edit(A, 1, 5, grid=Y), edit(B, 1, 6, grid=X, phone="1"))
    assert (line.record.grid, line.fields["phone"], line.losses, line.merged) == (Y, "1", [], True)


def test_a_stale_edit_conflicts_with_what_changed_after_the_move() -> None:
    line = household(phone="0").then(
        edit(A, 1, 5, grid=Y), edit(A, 2, 6, grid=Y, phone="a"), edit(B, 1, 7, grid=X, phone="b")
    )
    assert (line.record.grid, line.fields["phone"]) == (Y, "b")
    assert [(loss.kept, loss.lost) for loss in line.losses] == [("b", "a")]


def test_of_a_record_that_moved_twice_nothing_is_known_of_what_a_stale_edit_saw() -> None:
    line = household(phone="0").then(
        edit(A, 1, 5, grid=Y), edit(A, 2, 6, grid="z"), edit(B, 1, 7, grid=X, phone="b")
    )
    assert line.record.grid == "z"
    assert [(loss.kept, loss.lost) for loss in line.losses] == [("b", "0")]


def test_a_move_wins_over_a_deletion_that_did_not_know_of_it() -> None:
    line = household().then(edit(A, 1, 5, grid=Y), edit(B, 1, 6, op="delete", grid=X))
    assert (line.record.deleted, line.record.grid) == (False, Y)
    assert [loss.field for loss in line.losses] == ["deleted"]


# ----------------------------------------------------------------- bases that cannot have been seen


def seen(item: Edit, rev: int) -> Edit:
    """An edit of a device that has pulled up to this rev."""
    item.seen = rev
    return item


def of_old_epoch(item: Edit) -> Edit:
    """An edit whose base belongs to a history that the server no longer has."""
    item.rebased = True
    return item


def test_a_base_that_the_device_cannot_have_seen_knows_nothing() -> None:
    for stamp, stays in ((9, "b"), (3, "a")):
        line = household(phone="0").then(
            edit(A, 1, 5, phone="a"), seen(edit(B, 193, stamp, phone="b"), 3)
        )
        assert (line.fields["phone"], line.merged) == (stays, True)
        assert {loss.lost for loss in line.losses} == {"a", "b"} - {stays}


def test_a_base_of_a_grid_where_the_record_never_was_knows_nothing() -> None:
    line = household(phone="0").then(edit(A, 1, 5, phone="a"), edit(B, 99, 4, grid=X, phone="b"))
    assert line.fields["phone"] == "b"
    stranger = edit(B, 99, 4, grid=X, phone="b")
    stranger.base_grid = Y
    line = household(phone="0").then(edit(A, 1, 5, phone="a"), stranger)
    assert (line.fields["phone"], [loss.lost for loss in line.losses]) == ("a", ["b"])


def moved(item: Edit, base_grid: str) -> Edit:
    """An edit whose base was seen in another grid."""
    item.base_grid = base_grid
    return item


def test_an_edit_after_an_own_move_overwrites_nothing_that_another_wrote_where_it_went() -> None:
    """Another moves the record to the same grid and writes there; an edit that says nothing of the
    former grid has not seen that.
    """
    line = household(note="0").then(
        moved(edit(A, 1, 2, grid=Y), X),
        edit(A, 2, 3, grid=Y, note="甲"),
        moved(edit(B, 1, 4, grid=Y), X),
        seen(edit(B, 193, 5, grid=Y, note="乙"), 4),
    )
    assert (line.record.grid, line.fields["note"], [loss.lost for loss in line.losses]) == (
        Y,
        "乙",
        ["甲"],
    )


def test_a_record_that_is_moved_and_moved_back_offline_stands_where_it_was() -> None:
    line = household(note="0").then(moved(edit(A, 1, 5, grid=Y), X), edit(A, 1, 6, grid=X))
    assert (line.record.grid, line.losses) == (X, [])


def test_an_edit_made_before_the_own_move_does_not_move_the_record_back() -> None:
    line = household(note="0").then(
        moved(edit(A, 1, 5, grid=Y), X), edit(A, 1, 4, grid=X, note="1")
    )
    assert (line.record.grid, line.fields["note"]) == (Y, "1")


def test_a_move_back_stands_against_anothers_later_move_as_any_move_does() -> None:
    line = household().then(
        moved(edit(A, 1, 5, grid=Y), X), moved(edit(B, 1, 8, grid=Z), X), edit(A, 1, 6, grid=X)
    )
    assert (line.record.grid, line.merged) == (Z, True)


def test_two_who_move_a_record_to_one_grid_both_claim_it() -> None:
    line = household().then(
        moved(edit(A, 1, 3, grid=Y), X),
        moved(edit(B, 1, 9, grid=Y), X),
        moved(edit(C, 1, 5, grid=Z), X),
    )
    assert (line.record.grid, [(loss.field, loss.kept, loss.lost) for loss in line.losses]) == (
        Y,
        [("grid", Y, Z)],
    )


def test_a_move_that_also_edits_conflicts_with_nothing_that_it_saw() -> None:
    line = household(phone="0").then(
        edit(A, 1, 5, phone="1"), moved(edit(B, 2, 4, grid=Y, phone="2", members=3), X)
    )
    assert (line.record.grid, line.fields["phone"], line.losses, line.merged) == (Y, "2", [], False)
    line.then(edit(A, 3, 9, grid=Y, phone="3"))
    assert (line.fields["phone"], line.losses) == ("3", [])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_restore_undoes_no_deletion_whoever_hands_in_first(order: tuple[int, int]) -> None:
    again = [of_old_epoch(edit(A, 7, 5, note="甲")), of_old_epoch(edit(B, 8, 6, "delete"))]
    line = household(note="0").then(*(again[place] for place in order))
    assert line.record.deleted
    assert {loss.field for loss in line.losses} <= {"deleted", "note"}


def test_what_was_written_after_a_deletion_of_another_epoch_brings_the_record_back() -> None:
    for order in ((0, 1), (1, 0)):
        again = [of_old_epoch(edit(A, 7, 9, note="甲")), of_old_epoch(edit(B, 8, 6, "delete"))]
        line = household(note="0").then(*(again[place] for place in order))
        assert (line.record.deleted, line.fields["note"]) == (False, "甲")
        assert ("deleted", False, True) in {
            (loss.field, loss.kept, loss.lost) for loss in line.losses
        }


def test_a_restore_undoes_no_removal() -> None:
    added = of_old_epoch(edit(A, 7, 5, tags=SetChange(("veteran",), ())))
    removed = of_old_epoch(edit(B, 8, 6, tags=SetChange((), ("veteran",))))
    for order in ((added, removed), (removed, added)):
        assert "veteran" not in household().then(*order).fields.get("tags", [])
    early = of_old_epoch(edit(B, 8, 4, tags=SetChange((), ("veteran",))))
    for order in ((added, early), (early, added)):
        assert household().then(*order).fields["tags"] == ["veteran"]


def test_a_restore_raises_no_severity_that_was_lowered() -> None:
    for stamp, stays in ((6, "ordinary"), (4, "emergency")):
        line = Line(PROBLEM, edit(C, 0, 1, severity="urgent")).then(
            edit(A, 1, 5, severity="emergency"),
            of_old_epoch(edit(B, 8, stamp, severity="ordinary")),
        )
        assert line.fields["severity"] == stays


def held(edit: Edit, **other: Any) -> Edit:
    """An edit that was held meanwhile."""
    return msgspec.structs.replace(edit, was_held=True, **other)


def test_what_a_device_wrote_after_an_edit_that_was_held_stays_when_that_is_released() -> None:
    line = household(phone="0").then(
        edit(A, 1, 9, phone="later"), held(edit(A, 1, 5, phone="held"))
    )
    assert (line.fields["phone"], line.losses) == ("later", [])


def test_the_rest_of_an_edit_that_was_held_is_applied() -> None:
    late = held(edit(A, 1, 5, phone="held", note="of it alone"))
    line = household(phone="0").then(edit(A, 1, 9, phone="later"), late)
    assert (line.fields["phone"], line.fields["note"]) == ("later", "of it alone")


def test_an_element_that_its_device_removed_later_is_not_added_by_an_edit_that_was_held() -> None:
    line = household(tags=SetChange(("veteran",), ())).then(
        edit(A, 1, 9, tags=SetChange((), ("veteran",))),
        held(edit(A, 1, 5, tags=SetChange(("veteran", "monitored"), ()))),
    )
    assert line.fields["tags"] == ["monitored"]


def test_a_deletion_that_was_held_leaves_what_its_device_wrote_later() -> None:
    deletion = held(edit(A, 1, 5), op="delete")
    line = household(phone="0").then(edit(A, 1, 9, phone="later"), deletion)
    assert (line.record.deleted, line.fields["phone"]) == (False, "later")


def test_an_edit_that_was_held_does_not_bring_back_what_its_device_deleted_later() -> None:
    deletion = msgspec.structs.replace(edit(A, 1, 9), op="delete")
    line = household(phone="0").then(deletion, held(edit(A, 1, 5, phone="held")))
    assert line.record.deleted


def test_what_a_person_decides_is_no_older_than_what_it_decides() -> None:
    decided = held(edit(A, 1, 5, phone="decided"), override=True)
    line = household(phone="0").then(edit(A, 1, 9, phone="later"), decided)
    assert line.fields["phone"] == "decided"


def test_a_move_that_was_held_leaves_a_record_where_its_device_moved_it_later() -> None:
    later = msgspec.structs.replace(edit(A, 1, 9), grid="002", base_grid="001")
    late = held(edit(A, 1, 5), grid="003", base_grid="001")
    first = msgspec.structs.replace(edit(C, 0, 1, head_name="苏和"), grid="001")
    assert Line(HOUSEHOLD, first).then(later, late).record.grid == "002"
