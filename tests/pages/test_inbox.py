"""The page of decisions: conflicts side by side, held mutations with their fields, one after
another, and many at once.
"""

import re
from html import unescape
from typing import Any

import pytest

from service.inbox.answers import ConflictOut
from service.pages import inbox_view
from service.pages.names import Names, Words
from service.pages.values import differences
from service.vocabulary.terms import BUILT_IN
from simulator.places import NOW, SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.identity.test_rights import SOMEBODY, appoint
from tests.pages.browsing import Browser, form_of, hidden, somebody_with
from tests.pages.deciding import HOSTILE, a_conflict, a_held, a_household, next_seq
from tests.pages.test_numbers import rows_of
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World


async def browser_of(world: World, staff_code: str) -> Browser:
    browser = Browser(world)
    await browser.sign_in(staff_code)
    return browser


async def state_of(world: World, table: str, id: str) -> Any:
    [row] = await world.fetch(f"SELECT * FROM {table} WHERE id = $1", id)
    return row


def marked(text: str) -> list[str]:
    """What is marked as different on a page."""
    return re.findall(r"<mark>(.*?)</mark>", text)


async def test_a_conflict_stands_side_by_side_with_what_differs_marked(world: World) -> None:
    id = await a_conflict(world, "note", "屋顶漏雨", "屋顶修好")
    page = await (await browser_of(world, SECRETARY)).get("/inbox")
    row = rows_of(page.text, "conflicts")[id]
    assert marked(row) == ["修好", "漏雨"]
    assert row.count(WORKER) == 2
    assert "2026年11月20日 10:01" in row
    assert "2026年11月20日 10:02" in row
    assert "苏和" in row


async def test_one_click_decides_with_a_note_and_the_next_one_opens(world: World) -> None:
    first = await a_conflict(world, "members", 3, 4)
    world.clock.forward(minutes=5)
    second = await a_conflict(world, "members", 5, 6)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    assert list(rows_of(page.text, "conflicts")) == [second, first]
    done = await browser.send(page, "conflict-lost", note="户主说的")
    assert done.status_code == 303
    row = await state_of(world, "conflict", second)
    assert (row["choice"], row["note"], row["resolved_by"]) == ("lost", "户主说的", SECRETARY)
    assert (await world.fetch("SELECT members FROM household WHERE id = $1", row["record"]))[0][
        "members"
    ] == 5
    following = await browser.get(done.headers["location"])
    assert list(rows_of(following.text, "conflicts")) == [first]
    assert f"/inbox/conflicts/{first}" in following.text
    await browser.send(following, "conflict-kept")
    assert (await state_of(world, "conflict", first))["choice"] == "kept"
    assert "没有冲突" in (await browser.get("/inbox")).text


async def test_what_was_decided_meanwhile_is_said_in_words(world: World) -> None:
    await a_conflict(world, "members", 3, 4)
    browser, other = await browser_of(world, SECRETARY), await browser_of(world, SUPERVISOR)
    page, same = await browser.get("/inbox"), await other.get("/inbox")
    await browser.send(page, "conflict-lost")
    late = await other.send(same, "conflict-kept")
    assert late.status_code == 409
    assert 'role="alert"' in late.text
    assert SECRETARY in late.text


async def test_values_of_which_nothing_is_shown_that_differs_stand_in_no_panels(
    world: World,
) -> None:
    id = await a_conflict(world, "address", "三道街一号", "三道街二号")
    page = await (await browser_of(world, SUPERVISOR)).get("/inbox")
    row = rows_of(page.text, "conflicts")[id]
    assert marked(row) == []
    assert 'class="value"' not in row
    assert "不向您显示" in row
    assert "三道街一号" not in page.text
    whole = await (await browser_of(world, SECRETARY)).get("/inbox")
    assert marked(rows_of(whole.text, "conflicts")[id]) == ["二", "一"]


@pytest.mark.parametrize(
    ("one", "other", "left", "right"),
    [
        ("王秀兰", "李秀兰", ["王"], ["李"]),
        ("3", "4", ["3"], ["4"]),
        ("a", "ab", [], ["b"]),
        ("甲。乙。" * 400, "甲。乙。" * 400 + "丙。", [], ["丙。"]),
        ("", "x", [], ["x"]),
    ],
)
def test_only_what_differs_is_marked(
    one: str, other: str, left: list[str], right: list[str]
) -> None:
    found = differences(one, other)
    assert ["".join(piece.text for piece in pieces) for pieces in found] == [one, other]
    assert [[piece.text for piece in pieces if piece.differs] for pieces in found] == [left, right]


@pytest.mark.parametrize(
    ("field", "kept", "lost", "shown"),
    [
        ("deleted", True, False, ["已删除", "未删除"]),
        ("tags", ["low_income"], ["low_income", "veteran"], ["低保", "低保、退役军人"]),
        ("state", "away", None, ["外迁", "空"]),
        ("lead_member", "C1", "C2", ["巴图", "C2"]),
        ("location", {"lat": 40.1, "lon": 110.2}, None, ["40.1, 110.2", "空"]),
        ("grid", GRID, FAR_GRID, ["一组", FAR_GRID]),
        ("state_since", "2026-11-01", "x", ["2026年11月1日", "x"]),
        ("later_field", {"a": [1]}, "y", ['{"a": [1]}', "y"]),
    ],
)
def test_a_value_is_shown_in_words(field: str, kept: Any, lost: Any, shown: list[str]) -> None:
    facts = {"id": "1", "grid": GRID, "kind": "household", "record": "2", "rule": "latest: x"}
    facts |= {"kept_by": "a", "kept_device": "b", "lost_by": "c", "lost_device": "d"}
    item = ConflictOut(
        **facts, field=field, rev=1, kept=kept, lost=lost, kept_at=NOW, lost_at=NOW, created_at=NOW
    )
    names = Names({GRID: "一组"}, {}, {"C1": "巴图"}, {})
    words = Words(BUILT_IN, NOW.date())
    sides = inbox_view.opened_conflict(item, words, names, "zh").sides
    assert ["".join(piece.text for piece in side.pieces) for side in sides] == shown


async def test_a_held_mutation_says_why_and_is_released_with_a_corrected_field(
    world: World,
) -> None:
    fields = {"visited_at": "昨天", "content": "走访"}
    id = await a_held(world, fields=fields)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    row = rows_of(page.text, "held")[id]
    assert "走访时间" in row
    assert "昨天" in row
    still = await browser.send(page, "held-release")
    assert still.status_code == 422
    assert "仍未通过" in still.text
    typed = {"field.visited_at": "2026-11-19T09:30", "field.content": "走访"}
    done = await browser.send(page, "held-release", **typed, note="问过本人")
    assert done.status_code == 303
    held = await state_of(world, "held", id)
    assert (held["state"], held["decision"]) == ("released", "问过本人")
    [visit] = await world.fetch("SELECT content, visited_at::text, created_by FROM visit")
    assert visit["content"] == "走访"
    assert visit["visited_at"].startswith("2026-11-19 01:30")
    assert visit["created_by"] == WORKER


async def test_what_is_masked_stays_as_it_was_sent_when_another_field_is_corrected(
    world: World,
) -> None:
    fields = {"head_name": "苏和", "phone": "13812345678", "members": "三"}
    id = await a_held(world, "household", fields=fields)
    await world.fetch(
        "UPDATE post SET role = 'admin' WHERE staff_code = $1", SUPERVISOR
    )  # who supervises and may write households
    browser = await browser_of(world, SUPERVISOR)
    page = await browser.get("/inbox")
    assert "13812345678" not in page.text
    assert "138****5678" in page.text
    form = form_of(page.text, "held-release")
    sent = {"field.head_name": "苏和", "field.phone": "", "field.members": "3"}
    wrong = await browser.post(form.path, form.fields | sent | {"field.phone": "138****5678"})
    assert wrong.status_code == 422
    done = await browser.post(form.path, form.fields | sent)
    assert done.status_code == 303
    held = await state_of(world, "held", id)
    assert held["state"] == "released"
    [house] = await world.fetch(
        "SELECT id::text, phone, members FROM household WHERE id::text = $1", held["record"]
    )
    assert house["members"] == 3
    assert world.decrypted("household", "phone", house["id"], house["phone"]) == "13812345678"


async def test_sets_are_corrected_by_ticks_and_unknown_words_go(world: World) -> None:
    tags = {"add": ["low_income", "x"], "remove": ["veteran"]}
    id = await a_held(world, "household", fields={"head_name": "苏和", "tags": tags})
    browser = await browser_of(world, SECRETARY)
    form = form_of((await browser.get("/inbox")).text, "held-release")
    sent = {"field.head_name": "苏和", "field.tags": ["low_income", "disabled"]}
    done = await browser.post(form.path, form.fields | sent)  # type: ignore[arg-type]
    assert done.status_code == 303, done.text
    assert (await state_of(world, "held", id))["state"] == "released"
    [row] = await world.fetch("SELECT tags FROM household WHERE head_name = '苏和'")
    assert sorted(row["tags"]) == ["disabled", "low_income"]


async def test_what_somebody_typed_stays_when_it_is_refused(world: World) -> None:
    await a_held(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    again = await browser.send(page, "held-release", **{"field.content": "入户走访，未遇人"})
    assert again.status_code == 422
    assert "入户走访，未遇人" in again.text


async def test_a_held_mutation_is_discarded_with_a_reason_and_never_without(world: World) -> None:
    id = await a_held(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    assert (await browser.send(page, "held-discard", why=" ")).status_code == 422
    assert (await browser.send(page, "held-discard", why="重复")).status_code == 303
    row = await state_of(world, "held", id)
    assert (row["state"], row["decision"]) == ("discarded", "重复")


async def test_many_alike_are_decided_together(world: World) -> None:
    conflicts = [await a_conflict(world, "members", 3, 4) for _ in range(3)]
    held = [await a_held(world) for _ in range(3)]
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    form = form_of(page.text, "conflict-many")
    ticked: Any = {"choice": "lost", "ids": conflicts[:2], "note": "同一天"}
    done = await browser.post(form.path, form.fields | ticked)
    assert done.headers["location"] == "/inbox?done=2"
    choices = [(await state_of(world, "conflict", id))["choice"] for id in conflicts]
    assert choices == ["lost", "lost", None]
    form = form_of(page.text, "held-many")
    refused = await browser.post(form.path, form.fields | {"decision": "release", "ids": held[0]})
    assert refused.headers["location"] == "/inbox?left=1"
    assert "未能处理" in (await browser.get(refused.headers["location"])).text
    nothing = await browser.post(form.path, form.fields | {"decision": "discard", "ids": held[0]})
    assert nothing.status_code == 422
    ticked = {"decision": "discard", "ids": [*held, "x"], "note": "重填"}
    done = await browser.post(form.path, form.fields | ticked)
    assert done.headers["location"] == "/inbox?done=3"
    assert {(await state_of(world, "held", id))["state"] for id in held} == {"discarded"}


async def test_rows_are_narrowed_to_what_is_alike(world: World) -> None:
    one = await a_conflict(world, "members", 3, 4)
    await a_conflict(world, "note", "x", "y")
    visit = await a_held(world)
    await a_held(world, "telegram")
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox", alike="household.members", reason="fields-wrong")
    assert list(rows_of(page.text, "conflicts")) == [one]
    assert list(rows_of(page.text, "held")) == [visit]
    nothing = await browser.get("/inbox", alike="x", reason="y")
    assert rows_of(nothing.text, "conflicts") == rows_of(nothing.text, "held") == {}


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_rows_that_rest_shows_it(world: World, role: str) -> None:
    await a_conflict(world, "members", 3, 4)
    await a_held(world)
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, bearer = somebody
    for unit in ("", VILLAGE, GRID, TOWNSHIP, FAR_GRID, "9", "x"):
        asked = {"unit": unit} if unit else {}
        page = await browser.get("/inbox", **asked)
        for table in ("conflicts", "held"):
            path = f"/v1/{table}"
            answer = await world.client.get(path, params=asked | {"state": "open"}, headers=bearer)
            if table == "held":
                assert page.status_code == answer.status_code, unit
            items = answer.json()["items"] if answer.status_code == 200 else []
            assert list(rows_of(page.text, table)) == [item["id"] for item in items]


async def test_who_may_not_decide_is_offered_nothing_and_refused(world: World) -> None:
    conflict, held = await a_conflict(world, "members", 3, 4), await a_held(world)
    token = await appoint(world, "village_committee", VILLAGE)
    assert token
    browser = await browser_of(world, SOMEBODY)
    page = await browser.get("/inbox")
    assert set(re.findall(r'data-action="([\w-]+)"', page.text)) == {"signout"}
    csrf = {"csrf": hidden(page.text, "csrf")}
    for path, fields in {
        f"/inbox/conflicts/{conflict}": {"choice": "lost"},
        "/inbox/conflicts": {"choice": "lost", "ids": conflict},
        f"/inbox/held/{held}/release": {"kind": "visit"},
    }.items():
        assert (await browser.post(path, csrf | fields)).status_code == 403, path
    await browser.post("/inbox/held", csrf | {"decision": "release", "ids": held})
    await browser.post("/inbox/held", csrf | {"decision": "discard", "ids": held, "note": "x"})
    await browser.post(f"/inbox/held/{held}/discard", csrf | {"why": "x"})
    assert (await state_of(world, "conflict", conflict))["choice"] is None
    assert (await state_of(world, "held", held))["state"] == "open"


async def test_forms_of_decisions_need_the_token_of_the_page(world: World) -> None:
    conflict, held = await a_conflict(world, "members", 3, 4), await a_held(world)
    browser = await browser_of(world, SECRETARY)
    for path, fields in {
        f"/inbox/conflicts/{conflict}": {"choice": "lost"},
        "/inbox/conflicts": {"choice": "lost", "ids": conflict},
        f"/inbox/held/{held}/release": {"kind": "visit"},
        f"/inbox/held/{held}/discard": {"why": "x"},
        "/inbox/held": {"decision": "discard", "ids": held, "note": "x"},
    }.items():
        assert (await browser.post(path, fields)).status_code == 403, path
        good = fields | {"csrf": hidden((await browser.get("/inbox")).text, "csrf")}
        elsewhere = await browser.post(path, good, Origin="https://evil.test")
        assert elsewhere.status_code == 403, path
    assert (await state_of(world, "conflict", conflict))["choice"] is None
    assert (await state_of(world, "held", held))["state"] == "open"


async def test_ones_own_held_mutation_is_seen_and_discarded_by_its_author(world: World) -> None:
    id = await a_held(world)
    browser = await browser_of(world, WORKER)
    page = await browser.get("/inbox")
    assert "held-release" not in page.text
    await browser.send(page, "held-discard", why="填错了")
    assert (await state_of(world, "held", id))["state"] == "discarded"


async def test_hostile_texts_are_shown_as_texts(world: World) -> None:
    wire = world.wire()
    await a_household(wire, head_name=HOSTILE[:60], note=HOSTILE)
    await a_conflict(world, "note", HOSTILE, HOSTILE + "!")
    await a_held(world, fields={"visited_at": HOSTILE, "content": HOSTILE, HOSTILE: HOSTILE})
    seq = await next_seq(wire)
    await wire.send(wire.mutation(seq, HOSTILE[:30], fields={"a": HOSTILE}))
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/inbox")
    for id in rows_of(page.text, "held"):
        opened = await browser.get("/inbox", held=id)
        assert opened.status_code == 200
        assert "<script>alert" not in opened.text
        assert "<img" not in opened.text
    assert "{{7*7}}" in page.text


async def test_a_page_of_decisions_leaves_the_lines_that_rest_leaves(world: World) -> None:
    await a_conflict(world, "members", 3, 4)
    browser = await browser_of(world, SUPERVISOR)
    await browser.send(await browser.get("/inbox"), "conflict-kept")
    rows = await world.fetch("SELECT action FROM audit WHERE staff_code = $1", SUPERVISOR)
    actions = [row["action"] for row in rows]
    assert sorted(actions) == ["conflict-settled", "conflicts", "held", "household", "signed-in"]


@pytest.mark.parametrize(
    "query",
    [
        *("conflicts_after=x", "held_after=%00", "conflict=x&held=y", "done=5000", "done=-1"),
        *("unit=9", "alike=%00", "nothing=1", "left=3"),
    ],
)
async def test_odd_addresses_of_decisions_are_answered_by_a_page(world: World, query: str) -> None:
    page = await (await browser_of(world, SECRETARY)).get(f"/inbox?{query}")
    assert page.status_code in (200, 404, 422)
    assert "<main" in page.text


async def test_rows_name_the_household_and_what_a_record_is_about(world: World) -> None:
    await a_conflict(world, "members", 3, 4, head_name="乌云其木格")
    wire = world.wire(WORKER)
    house, _ = await a_household(wire, head_name="巴特尔")
    broken = {"visited_at": "昨天", "household_id": house}
    await a_held(world, fields=broken)
    await a_held(world, "weekly_analysis", fields={"week": "2026-W47", "nothing": 1})
    browser = Browser(world)
    await browser.sign_in("S1502")
    page = await browser.get("/inbox")
    names = [
        unescape(name) for name in re.findall(r'class="subject quiet">(.*?)</span>', page.text)
    ]
    assert ">乌云其木格</a>" in page.text  # of the one that is open
    assert "巴特尔" in names
    assert "2026年第47周" in names
    conflicts = (await world.get("/v1/conflicts", "S1502")).json()["items"]
    assert [one["about"]["head_name"] for one in conflicts] == ["乌云其木格"]
    # Who wrote it, and does not see that household any more, is not told whose it is.
    await world.fetch("UPDATE household SET grid = $2 WHERE id = $1", house, FAR_GRID)
    own = (await world.get("/v1/held", WORKER)).json()["items"]
    assert [one["about"]["head_name"] for one in own if one["kind"] == "visit"] == [None]
