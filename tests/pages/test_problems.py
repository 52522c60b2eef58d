"""The pages of problems: the list and the board show what REST shows, and steps are forms that
offer only what is allowed.
"""

import re
from typing import Any

import httpx
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.browsing import Browser, form_of, hidden, somebody_with
from tests.pages.deciding import HOSTILE
from tests.pages.test_numbers import rows_of
from tests.problems.test_problems import raised, step
from tests.world import FAR_GRID, GRID, SECRETARY, WORKER, World


async def browser_of(world: World, staff_code: str) -> Browser:
    browser = Browser(world)
    await browser.sign_in(staff_code)
    return browser


def cards_of(text: str) -> list[str]:
    """The problems of a board, column after column."""
    return re.findall(r'<article class="card" data-id="([^"]+)"', text)


def steps_offered(text: str) -> set[str]:
    return set(re.findall(r'data-action="problem-(\w+)"', text))


async def some(world: World) -> list[str]:
    """Problems in several states; the first one is urgent, resolved late and in the hands of
    nobody.
    """
    one = await raised(world, title="水管冻裂", contact="13812345678")
    two = await raised(world, title="路灯不亮", severity="ordinary", duty="public_service")
    three = await raised(world, title="争水", severity="emergency", duty="public_order")
    await step(world, two["id"], "accept")
    world.clock.forward(days=8)
    await step(world, one["id"], "resolve", WORKER, note="已换新管")
    return [one["id"], two["id"], three["id"]]


FILTERS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"state": "accepted"}, {"state": "accepted"}),
    ({"state": "open"}, {"open": True}),
    ({"overdue": "yes"}, {"overdue": True}),
    ({"severity": "urgent"}, {"severity": "urgent"}),
    ({"duty": "public_order"}, {"duty": "public_order"}),
    ({"cadre": WORKER}, {"cadre": WORKER}),
    ({"text": "路灯"}, {"text": "路灯"}),
    ({"unit": GRID}, {"unit": GRID}),
    ({"unit": VILLAGE + "002"}, {"unit": VILLAGE + "002"}),
    (
        {"from": "2026-11-28", "to": "2026-11-28", "by": "resolved"},
        {"from": "2026-11-28", "to": "2026-11-28", "by": "resolved"},
    ),
    ({"from": "2026-11-21"}, {"from": "2026-11-21", "to": "2026-12-01"}),
    ({"to": "2026-11-20"}, {"from": "2026-01-01", "to": "2026-11-20"}),
    (
        {"state": "", "overdue": "", "severity": "", "duty": "", "cadre": "", "text": "",
         "from": "", "to": "", "by": "raised", "unit": ""},
        {},
    ),
]  # fmt: skip


async def test_the_list_shows_what_rest_shows_for_each_filter(world: World) -> None:
    await some(world)
    browser = await browser_of(world, SUPERVISOR)
    seen = set()
    for asked, rest in FILTERS:
        page = await browser.get("/problems", **asked)
        assert page.status_code == 200, asked
        items = (await world.get("/v1/problems", SUPERVISOR, **rest)).json()["items"]
        assert list(rows_of(page.text, "problems")) == [item["id"] for item in items], asked
        seen.add(len(items))
    assert seen >= {0, 1, 2, 3}


async def test_the_board_has_the_open_ones_and_the_resolved_ones_by_state(world: World) -> None:
    one, two, three = await some(world)
    verified = await raised(world, title="已核查的")
    await step(world, verified["id"], "resolve", WORKER)
    await step(world, verified["id"], "verify", SUPERVISOR, satisfied="yes")
    browser = await browser_of(world, SUPERVISOR)
    board = await browser.get("/problems", view="board")
    assert cards_of(board.text) == [three, two, one]
    urgent = await browser.get("/problems", view="board", severity="urgent")
    assert cards_of(urgent.text) == [one]


async def test_long_lists_go_on_where_the_page_ends(world: World) -> None:
    wire = world.wire()
    fields = {"title": "t", "duty": "emergency", "raised_at": world.clock.now().isoformat()}
    await wire.send(*(wire.mutation(seq, "problem", fields=fields) for seq in range(1, 121)))
    browser = await browser_of(world, SUPERVISOR)
    first = await browser.get("/problems", severity="")
    path = re.findall(r'rel="next" href="([^"]+)"', first.text)[0].replace("&amp;", "&")
    second = await browser.get(path)
    rows = [*rows_of(first.text, "problems"), *rows_of(second.text, "problems")]
    assert len(rows) == len(set(rows)) == 120
    assert 'rel="next"' not in second.text


async def test_a_problem_tells_who_did_what_when_from_where_and_what_changed_nothing(
    world: World,
) -> None:
    problem = await raised(world, contact="13812345678")
    await step(world, problem["id"], "assign", SUPERVISOR, to_cadre=WORKER, note="今天到现场")
    phone = world.phone(WORKER, name="红色手机")
    await phone.sync()
    fields = {"problem_id": problem["id"], "action": "resolve", "note": "已换新管"}
    world.clock.forward(minutes=5)
    phone.put("step", fields | {"at": world.clock.now().isoformat()}, grid=GRID)
    await phone.sync()
    await step(world, problem["id"], "resolve", SECRETARY)
    page = await (await browser_of(world, SUPERVISOR)).get(f"/problems/{problem['id']}")
    entries = page.text.partition('id="timeline"')[2].partition("</ol>")[0].split("<li")[2:]
    assert [("ineffective" in entry) for entry in entries] == [False, False, True]
    assert "今天到现场" in entries[0]
    assert "在网页或由程序填写" in entries[0]
    assert "红色手机" in entries[1]
    assert WORKER in entries[1]
    assert f"已由 {WORKER}" in entries[2] or WORKER in entries[2]
    assert "13812345678" not in page.text
    assert "1***" in page.text
    whole = await (await browser_of(world, SECRETARY)).get(f"/problems/{problem['id']}")
    assert "13812345678" in whole.text


async def test_what_lost_in_a_field_stands_below_the_timeline(world: World) -> None:
    problem = await raised(world, title="甲")
    [row] = await world.fetch("SELECT rev FROM problem WHERE id = $1", problem["id"])
    one, two = world.wire(), world.wire()
    for wire, title in ((one, "乙"), (two, "丙")):
        world.clock.forward(minutes=1)
        await wire.send(
            wire.mutation(1, "problem", id=problem["id"], base=row["rev"], fields={"title": title})
        )
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(f"/problems/{problem['id']}")
    assert "<s>乙</s>" in page.text
    [id] = await world.fetch("SELECT id::text FROM conflict")
    assert f"/inbox?conflict={id['id']}" in page.text


async def test_only_the_steps_are_offered_that_rest_names(world: World) -> None:
    ids = await some(world)
    for staff_code in (WORKER, SECRETARY, SUPERVISOR):
        browser = await browser_of(world, staff_code)
        for id in ids:
            page = await browser.get(f"/problems/{id}")
            rest = (await world.get(f"/v1/problems/{id}", staff_code)).json()
            assert steps_offered(page.text) == set(rest["next_actions"])


async def test_steps_are_taken_by_forms_from_raising_to_the_end(world: World) -> None:
    problem = await raised(world)
    path = f"/problems/{problem['id']}"
    secretary, supervisor = (
        await browser_of(world, SECRETARY),
        await browser_of(world, SUPERVISOR),
    )

    async def take(browser: Browser, action: str, **fields: str) -> httpx.Response:
        done = await browser.send(await browser.get(path), f"problem-{action}", **fields)
        assert done.status_code == 303, done.text
        page = await browser.get(done.headers["location"])
        assert "步骤已记录。" in page.text
        return page

    await take(secretary, "accept")
    await take(supervisor, "extend", until="2026-12-31")
    await take(secretary, "escalate", note="村里办不了")
    await take(supervisor, "assign", to_cadre=WORKER, note="请到现场")
    await take(supervisor, "return", note="先由村里看")
    await take(secretary, "resolve", note="已换新管")
    page = await take(supervisor, "verify", satisfied="yes")
    assert "满意" in page.text
    found = (await world.get(f"/v1/problems/{problem['id']}")).json()
    assert [item["action"] for item in found["steps"]] == [
        *("accept", "extend", "escalate", "assign", "return", "resolve", "verify")
    ]
    assert found["due"].startswith("2026-12-31T15:59:59")
    assert found["steps"][3]["fields"]["to_cadre"] == WORKER
    assert (found["state"], found["satisfied"]) == ("verified", "yes")


async def test_a_form_that_is_sent_twice_makes_one_step(world: World) -> None:
    problem = await raised(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(f"/problems/{problem['id']}")
    for _ in range(2):
        assert (await browser.send(page, "problem-accept")).status_code == 303
    assert len((await world.get(f"/v1/problems/{problem['id']}")).json()["steps"]) == 1


async def test_a_step_that_came_too_late_says_why_it_changed_nothing(world: World) -> None:
    problem = await raised(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(f"/problems/{problem['id']}")
    await step(world, problem["id"], "resolve", WORKER)
    done = await browser.send(page, "problem-accept")
    after = await browser.get(done.headers["location"])
    assert 'role="alert"' in after.text
    assert "未生效" in after.text


@pytest.mark.parametrize(
    ("action", "fields", "said"),
    [
        ("assign", {"note": "谁来办"}, "请选择承办人"),
        ("assign", {"to_cadre": "NOBODY", "note": "谁来办"}, ""),
        ("return", {"note": " "}, "请在备注中写明"),
        ("note", {}, "请在备注中写明"),
        ("extend", {"until": "2026-02-30", "note": "x"}, "没有 2026-02-30 这一天"),
        ("join", {"duplicate_of": "那个", "note": "一样"}, "请填写另一问题"),
    ],
)
async def test_what_is_missing_is_said_and_what_was_typed_stays(
    world: World, action: str, fields: dict[str, str], said: str
) -> None:
    problem = await raised(world)
    await step(world, problem["id"], "accept")
    await step(world, problem["id"], "escalate")
    await step(world, problem["id"], "accept", SUPERVISOR)
    browser = await browser_of(world, SUPERVISOR)
    page = await browser.get(f"/problems/{problem['id']}")
    # A limit is extended from above only: the form is sent all the same.
    form = form_of(page.text, "problem-note")
    wrong = await browser.post(
        f"/problems/{problem['id']}/{action}", form.fields | {"note": ""} | fields
    )
    assert wrong.status_code == 422, wrong.text
    assert said in wrong.text
    if fields.get("note", "").strip() and f'id="note-{action}"' in wrong.text:
        assert fields["note"] in wrong.text
    assert len((await world.get(f"/v1/problems/{problem['id']}")).json()["steps"]) == 3


async def test_a_problem_is_joined_by_the_address_of_the_other(world: World) -> None:
    one, other = await raised(world), await raised(world)
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(f"/problems/{one['id']}")
    address = f"https://gridloop.test/problems/{other['id']}?step=x"
    await browser.send(page, "problem-join", duplicate_of=address)
    found = (await world.get(f"/v1/problems/{one['id']}")).json()
    assert (found["state"], found["duplicate_of"]) == ("joined", other["id"])


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_sees_the_problems_that_rest_shows_it(world: World, role: str) -> None:
    problem = await raised(world)
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, bearer = somebody
    for unit in ("", VILLAGE, GRID, TOWNSHIP, FAR_GRID, "9", "x"):
        asked = {"unit": unit} if unit else {}
        answer = await world.client.get("/v1/problems", params=asked, headers=bearer)
        page = await browser.get("/problems", **asked)
        assert page.status_code == answer.status_code, unit
        items = answer.json()["items"] if answer.status_code == 200 else []
        assert list(rows_of(page.text, "problems")) == [item["id"] for item in items]
    answer = await world.client.get(f"/v1/problems/{problem['id']}", headers=bearer)
    page = await browser.get(f"/problems/{problem['id']}")
    assert page.status_code == answer.status_code
    allowed = answer.json()["next_actions"] if answer.status_code == 200 else []
    assert steps_offered(page.text) == set(allowed)
    form = {"csrf": hidden(page.text, "csrf"), "note": "x"}
    taken = await browser.post(f"/problems/{problem['id']}/accept", form)
    assert (taken.status_code == 303) == ("accept" in allowed)


async def test_steps_need_the_token_of_the_page(world: World) -> None:
    problem = await raised(world)
    browser = await browser_of(world, SECRETARY)
    path = f"/problems/{problem['id']}/accept"
    assert (await browser.post(path, {"note": "x"})).status_code == 403
    good = {"csrf": hidden((await browser.get("/problems")).text, "csrf")}
    assert (await browser.post(path, good, Origin="https://evil.test")).status_code == 403
    assert (await world.get(f"/v1/problems/{problem['id']}")).json()["steps"] == []


async def test_pages_of_problems_leave_their_lines_in_the_trail(world: World) -> None:
    problem = await raised(world)
    browser = await browser_of(world, SUPERVISOR)
    await browser.get("/problems")
    await browser.get(f"/problems/{problem['id']}")
    rows = await world.fetch("SELECT action, subjects FROM audit WHERE staff_code = $1", SUPERVISOR)
    found = {row["action"]: row["subjects"] for row in rows}
    assert found.keys() == {"signed-in", "problems", "problem", "conflicts", "cadres"}
    assert found["problem"] == [problem["id"]]


async def test_hostile_texts_of_problems_are_shown_as_texts(world: World) -> None:
    problem = await raised(
        world, title=HOSTILE, detail=HOSTILE, category=HOSTILE[:60], contact=HOSTILE
    )
    await step(world, problem["id"], "note", note=HOSTILE)
    browser = await browser_of(world, SECRETARY)
    for path in ("/problems", "/problems?view=board", f"/problems/{problem['id']}"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "{{7*7}}" in page.text
    typed = await browser.get("/problems", text=HOSTILE)
    assert "<script>alert" not in typed.text


@pytest.mark.parametrize(
    "path",
    [
        *("/problems/x", "/problems/00000000-0000-7000-8000-000000000000", "/problems?state=x"),
        *("/problems?from=2026-13-01", "/problems?from=2026-11-02&to=2026-11-01"),
        *("/problems?to=0001-01-01", "/problems?after=x", "/problems?view=tree"),
        *("/problems?text=%00", "/problems?duty=%27", "/problems?unit=9", "/problems?cadre=%25"),
    ],
)
async def test_odd_addresses_of_problems_are_answered_by_a_page(world: World, path: str) -> None:
    page = await (await browser_of(world, SECRETARY)).get(path)
    assert page.status_code in (200, 404, 422), page.status_code
    assert "<main" in page.text


async def test_a_problem_is_found_by_the_number_of_its_ledger(world: World) -> None:
    one, other = [await raised(world, title=title) for title in ("井盖破损", "路灯不亮")]
    number = f"20261120-{one['id'][-6:].upper()}"
    assert one["number"] == number
    browser = Browser(world)
    await browser.sign_in(SUPERVISOR)
    assert number in (await browser.get(f"/problems/{one['id']}")).text
    for typed in (number, f" {number.lower()} "):
        page = await browser.get("/problems", text=typed)
        assert list(rows_of(page.text, "problems")) == [one["id"]]
    ledger = await browser.get("/ledgers/problems", unit=GRID, month="2026-11")
    assert f">{number}</td>" in ledger.text
    assert other["number"] in ledger.text
    for odd in (f"00010101-{number[-6:]}", f"20261301-{number[-6:]}", "20261123-000000"):
        assert 'data-id="' not in (await browser.get("/problems", text=odd)).text
