"""A cadre's page of administration: posts, passwords, what is in hand, by the rules of REST."""

import io
import re

import openpyxl
import pytest

from simulator.places import SUPERVISOR, TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.administering import ADMIN, HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import Browser, somebody_with
from tests.world import FAR_GRID, GRID, OTHER_GRID, SECRETARY, WORKER, World

PATH = f"/admin/cadres/{WORKER}"


async def posts_of(world: World, staff_code: str) -> list[tuple[str, str, bool]]:
    found = (await world.get(f"/v1/cadres/{staff_code}", ADMIN)).json()["posts"]
    return sorted((one["role"], one["unit"], one["valid_to"] is None) for one in found)


async def test_a_person_is_added_and_chooses_a_password_by_a_code(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get("/admin/hire", unit=GRID)
    fields = {"name": HOSTILE[:30], "staff_code": "N-1", "phone": "13800000001"}
    given = {"role": "village_committee", "unit": VILLAGE, "joined_on": "2020-07-01"}
    page = await send(browser, page, "cadre-hire", **fields, **given)
    assert page.status_code == 200
    assert await posts_of(world, "N-1") == [("village_committee", VILLAGE, True)]
    assert "<img" not in page.text
    page = await browser.get("/admin/cadres/N-1")
    with_code = await browser.send(page, "recovery-code")
    [code] = re.findall(r"<code data-code>(.*?)</code>", with_code.text)
    assert with_code.headers["cache-control"] == "no-store"
    body = {"staff_code": "N-1", "code": code, "new_password": "秋天 的 草原 很 高"}
    assert (await world.client.post("/v1/auth/recover", json=body)).status_code < 300
    assert code not in (await browser.get("/admin/cadres/N-1")).text


async def test_a_post_is_given_changed_and_ended(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(PATH)
    page = await send(browser, page, "post-give", role="contact_member", unit=OTHER_GRID)
    assert "任职" in said(page)
    assert ("contact_member", OTHER_GRID, True) in await posts_of(world, WORKER)
    secretary = await browser.get(f"/admin/cadres/{SECRETARY}")
    changed = await send(browser, secretary, "post-change", title="书记<b>", valid_to="2027-01-01")
    assert "书记&lt;b&gt;" in changed.text
    [post] = (await world.get(f"/v1/cadres/{SECRETARY}", ADMIN)).json()["posts"]
    assert post["valid_to"].startswith("2026-12-31T16:00")
    unchanged = await browser.send(changed, "post-change", title="书记<b>", valid_to="2027-01-01")
    assert unchanged.status_code == 422
    await send(browser, await browser.get(f"/admin/cadres/{SECRETARY}"), "post-end")
    [post] = (await world.get(f"/v1/cadres/{SECRETARY}", ADMIN)).json()["posts"]
    assert post["valid_to"] is not None


async def test_somebody_is_transferred(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(PATH)
    page = await send(browser, page, "post-transfer", unit=OTHER_GRID, role="grid_worker")
    assert await posts_of(world, WORKER) == [
        ("grid_worker", GRID, False),
        ("grid_worker", OTHER_GRID, True),
    ]


async def test_what_was_typed_is_shown_again_where_it_is_refused(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(PATH)
    refused = await browser.send(
        page, "post-give", role="contact_member", unit="159999", title=HOSTILE
    )
    assert refused.status_code in (404, 422)
    assert "159999" in said(refused)
    assert 'value="159999"' in refused.text
    assert "<img" not in refused.text
    assert "<details open>" in refused.text
    odd = await browser.send(
        page, "post-give", role="grid_worker", unit=GRID, valid_from="2026-02-30"
    )
    assert odd.status_code == 422


async def test_a_person_is_corrected_and_a_masked_phone_stays(world: World) -> None:
    browser = await browser_of(world)
    before = (await world.get(f"/v1/cadres/{WORKER}", ADMIN)).json()
    page = await browser.get(PATH)
    fields = {"name": "王<b>五", "phone": before["phone"], "shown_code": "N-77"}
    page = await send(browser, page, "cadre-correct", **fields)
    found = (await world.get(f"/v1/cadres/{WORKER}", ADMIN)).json()
    assert (found["name"], found["shown_code"]) == ("王<b>五", "N-77")
    assert found["phone"] == before["phone"]
    assert "王<b>" not in page.text


async def test_what_is_in_hand_is_shown_and_handed_over(world: World) -> None:
    wire = world.wire(WORKER)
    fields = {"title": HOSTILE, "duty": "emergency", "raised_at": world.clock.now().isoformat()}
    problem = wire.mutation(1, "problem", fields=fields)
    step = {"problem_id": problem["id"], "action": "accept", "at": world.clock.now().isoformat()}
    await wire.send(problem, wire.mutation(2, "step", fields=step))
    browser = await browser_of(world, SECRETARY)
    page = await browser.get(PATH)
    assert "<img" not in page.text
    assert f"/problems/{problem['id']}" in page.text
    to = {"to": SECRETARY, "what": "problems"}
    tried = await browser.send(page, "hand-over", **to, dry_run="yes")
    assert f"/problems/{problem['id']}" in tried.text
    assert f'value="{SECRETARY}"' in tried.text
    await browser.send(page, "hand-over", **to)
    assert f"/problems/{problem['id']}" not in (await browser.get(PATH)).text


async def test_sign_ins_end_and_a_first_password_is_given(world: World) -> None:
    browser = await browser_of(world)
    worker = await browser_of(world, WORKER)
    await send(browser, await browser.get(PATH), "sessions-end")
    assert (await worker.get("/help")).status_code == 303
    page = await browser.get(PATH)
    weak = await browser.send(page, "first-password", password="1")
    assert weak.status_code == 422
    assert said(weak)
    done = await send(browser, page, "first-password", password="  春天 的 河流 很 长 ")
    assert "初始密码" in said(done)
    assert (await browser.send(page, "otp-reset")).status_code == 409


async def test_nobody_administers_the_own_account(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(f"/admin/cadres/{ADMIN}")
    assert page.status_code == 200
    for action in ("post-give", "recovery-code", "first-password", "cadre-correct", "post-end"):
        assert f'data-action="{action}"' not in page.text
    assert await forged(browser, f"/admin/cadres/{ADMIN}/code") == 403


async def test_slips_give_codes_to_who_has_no_password_and_stands_nowhere_else(
    world: World,
) -> None:
    for code, units in (("P-1", [GRID]), ("P-2", [GRID, FAR_GRID])):
        await world.fetch(
            "INSERT INTO cadre (staff_code, name, phone, party_member, demo, must_change)"
            " VALUES ($1, $2, '', false, false, false)",
            code,
            f"某{code}",
        )
        for unit in units:
            await world.fetch(
                "INSERT INTO post (id, staff_code, role, unit, valid_from) VALUES"
                " (gen_random_uuid(), $1, 'grid_worker', $2, now() - interval '9 years')",
                code,
                unit,
            )
    somebody = await somebody_with(world, "admin", VILLAGE)
    assert somebody is not None
    browser, _ = somebody
    page = await browser.get("/admin/slips", unit=VILLAGE)
    found = await browser.send(page, "slips", kind="xlsx", days="7")
    assert found.status_code == 200
    assert found.headers["cache-control"] == "no-store"
    sheet = openpyxl.load_workbook(io.BytesIO(found.content)).active
    assert sheet is not None
    text = [str(cell) for row in sheet.iter_rows(values_only=True) for cell in row]
    assert "P-1" in text
    assert "P-2" not in text
    pdf = await browser.send(page, "slips", kind="pdf", days="7")
    assert pdf.content.startswith(b"%PDF")
    assert await forged(browser, "/admin/slips", unit=TOWNSHIP) == 404
    lines = await world.fetch("SELECT count FROM audit WHERE action = 'slips-given'")
    assert [line["count"] for line in lines] == [1, 1]


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_is_offered_what_it_may_do_and_a_forged_form_is_refused(
    world: World, role: str
) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, headers = somebody
    page = await browser.get(PATH)
    rest = await world.client.get(f"/v1/cadres/{WORKER}", headers=headers)
    assert page.status_code == rest.status_code
    offered = set(re.findall(r'data-action="([\w-]+)"', page.text))
    administers = role == "admin"
    assert ("post-give" in offered) == administers
    assert ("first-password" in offered) == administers
    assert ("recovery-code" in offered) == (
        role in ("admin", "village_secretary", "first_secretary")
    )
    if administers:
        return
    forms = {"": {"name": "x"}, "/posts": {"role": "grid_worker", "unit": GRID}}
    forms |= {"/password": {"password": "春天 的 河流 很 长"}, "/otp": {}, "/sessions": {}}
    for path, fields in forms.items():
        assert await forged(browser, PATH + path, **fields) == 403, path
    assert await forged(browser, "/admin/hire", name="x") == 403
    assert (await browser.get("/admin/slips")).status_code == 403
    if role not in ("village_secretary", "first_secretary"):
        assert await forged(browser, f"{PATH}/code") == 403


async def test_a_form_without_its_token_or_from_elsewhere_does_nothing(world: World) -> None:
    browser = await browser_of(world)
    before = await posts_of(world, WORKER)
    fields = {"role": "contact_member", "unit": OTHER_GRID}
    assert (await browser.post(f"{PATH}/posts", fields)).status_code == 403
    page = await browser.get(PATH)
    browser.origin = "https://elsewhere.test"
    assert (await browser.send(page, "post-give", **fields)).status_code == 403
    assert await posts_of(world, WORKER) == before


async def test_a_form_of_an_ended_session_is_carried_over(world: World) -> None:
    browser = await browser_of(world)
    page = await browser.get(PATH)
    world.clock.forward(days=2)
    asked = await browser.send(page, "post-give", role="contact_member", unit=OTHER_GRID)
    assert asked.status_code == 401
    assert OTHER_GRID in asked.text
    stranger = Browser(world)
    assert (await stranger.get(PATH)).headers["location"].startswith("/signin")


async def test_a_supervisor_sees_masked_phones(world: World) -> None:
    browser = await browser_of(world, SUPERVISOR)
    rest = (await world.get(f"/v1/cadres/{WORKER}", SUPERVISOR)).json()
    assert rest["phone"] in (await browser.get(PATH)).text
