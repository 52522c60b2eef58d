"""Signing in to the pages: the cookie, its end, and forms."""

import re
from datetime import timedelta

import pyotp
import pytest

from service.privacy.purge import purge
from simulator.places import PASSWORD, SUPERVISOR, TOWNSHIP
from tests.pages.browsing import Browser, form_of, hidden, sent_again
from tests.world import WORKER, World

WEEK = "/week?unit=1502&week=2026-W46"


async def is_signed_in(browser: Browser) -> bool:
    """Whether a page answers, and does not lead to signing in."""
    page = await browser.get("/help")
    assert page.status_code == 200 or page.headers["location"].startswith("/signin")
    return page.status_code == 200


async def test_who_is_not_signed_in_is_led_to_it_and_back(world: World) -> None:
    browser = Browser(world)
    asked = await browser.get(WEEK)
    assert asked.status_code == 303
    form = await browser.get(asked.headers["location"])
    assert hidden(form.text, "then") == WEEK
    done = await browser.sign_in("S1502", then=hidden(form.text, "then"))
    assert (done.status_code, done.headers["location"]) == (303, WEEK)
    assert (await browser.get(WEEK)).status_code == 200


async def test_after_it_the_first_page_leads_to_the_last_whole_week_of_ones_own_unit(
    world: World,
) -> None:
    browser = Browser(world)
    assert (await browser.sign_in(SUPERVISOR)).headers["location"] == "/"
    first = await browser.get("/")
    assert first.headers["location"] == f"/week?unit={TOWNSHIP}&week=2026-W46"


@pytest.mark.parametrize("then", ["https://evil.test/", "//evil.test", "/\\evil.test", "evil"])
async def test_signing_in_leads_to_no_other_place(world: World, then: str) -> None:
    assert (await Browser(world).sign_in("S1502", then=then)).headers["location"] == "/"


async def test_the_cookie_is_for_this_host_over_tls_alone_and_no_script_sees_it(
    world: World,
) -> None:
    [cookie] = (await Browser(world).sign_in("S1502")).headers.get_list("set-cookie")
    assert cookie.startswith("__Host-gridloop=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "secure", "samesite=lax", "path=/"}


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:8000"])
async def test_on_this_machine_without_tls_the_cookie_is_plain(world: World, host: str) -> None:
    browser = Browser(world, f"http://{host}")
    [cookie] = (await browser.sign_in("S1502")).headers.get_list("set-cookie")
    assert cookie.startswith("gridloop=")
    assert "secure" not in cookie.lower()
    assert await is_signed_in(browser)


async def test_the_database_keeps_a_hash_of_the_cookie(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    [value] = browser.client.cookies.values()
    [row] = await world.fetch("SELECT hash FROM page_session")
    assert row["hash"] != value
    assert re.fullmatch(r"[0-9a-f]{64}", row["hash"])


async def test_a_session_is_no_token_and_a_token_no_session(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    [value] = browser.client.cookies.values()
    assert (await browser.get("/v1/auth/me")).status_code == 401
    for given in (value, await world.token("S1502")):
        headers = {"Authorization": f"Bearer {given}"}
        asked = await world.client.get("/help", headers=headers)
        assert asked.headers["location"].startswith("/signin")
    as_token = {"Authorization": f"Bearer {value}"}
    assert (await world.client.get("/v1/auth/me", headers=as_token)).status_code == 401


async def test_a_wrong_password_says_so_and_is_counted_with_those_of_rest(world: World) -> None:
    browser = Browser(world)
    for _ in range(4):
        wrong = await browser.sign_in("S1502", password="wrong")
        assert wrong.status_code == 401
    assert 'role="alert"' in wrong.text
    assert 'value="S1502"' in wrong.text
    assert "wrong" not in wrong.text.replace("text-wrong", "")
    form = {"grant_type": "password", "username": "S1502", "password": "wrong"}
    seen = [(await world.client.post("/v1/auth/token", data=form)).status_code for _ in range(8)]
    assert 429 in seen
    late = await browser.sign_in("S1502")
    assert late.status_code == 429
    assert "Retry-After" in late.headers


async def test_a_code_is_asked_for_only_where_there_is_a_second_factor(world: World) -> None:
    token = {"Authorization": f"Bearer {await world.token('S1502')}"}
    begun = await world.client.post("/v1/auth/otp", json={"password": PASSWORD}, headers=token)
    totp = pyotp.TOTP(begun.json()["secret"])
    confirmed = await world.client.post(
        "/v1/auth/otp/confirmation", json={"otp": totp.at(world.clock.now())}, headers=token
    )
    assert confirmed.status_code == 200
    world.clock.forward(minutes=2)
    browser = Browser(world)
    assert 'name="otp"' not in (await browser.get("/signin")).text
    asked = await browser.sign_in("S1502")
    assert 'name="otp"' in asked.text
    assert PASSWORD not in asked.text
    assert not await is_signed_in(browser)
    form = {"proof": hidden(asked.text, "proof"), "username": "S1502"}
    wrong = await browser.post("/signin", form | {"otp": "000000"})
    assert wrong.status_code == 401
    done = await browser.post("/signin", form | {"otp": totp.at(world.clock.now())})
    assert done.status_code == 303
    assert await is_signed_in(browser)
    other = Browser(world)
    world.clock.forward(minutes=6)
    late = await other.post("/signin", form | {"otp": totp.at(world.clock.now())})
    assert late.status_code == 401
    at_once = await other.sign_in("S1502", otp=totp.at(world.clock.now()))
    assert at_once.status_code == 303


async def test_signing_out_ends_this_session_and_no_other(world: World) -> None:
    one, other = Browser(world), Browser(world)
    await one.sign_in("S1502")
    await other.sign_in("S1502")
    page = await one.get("/help")
    kept = dict(one.client.cookies)
    gone = await one.send(page, "signout")
    assert gone.headers["location"] == "/signin"
    assert not await is_signed_in(one)
    one.client.cookies.update(kept)
    assert not await is_signed_in(one)
    assert await is_signed_in(other)


async def test_signing_out_everywhere_ends_browsers_and_tokens(world: World) -> None:
    one, other = Browser(world), Browser(world)
    await one.sign_in("S1502")
    await other.sign_in("S1502")
    token = {"Authorization": f"Bearer {await world.token('S1502')}"}
    await one.send(await one.get("/password"), "signout-everywhere")
    assert not await is_signed_in(one)
    assert not await is_signed_in(other)
    assert (await world.client.get("/v1/auth/me", headers=token)).status_code == 401


async def test_rest_ends_the_sessions_of_browsers(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    token = {"Authorization": f"Bearer {await world.token('S1502')}"}
    listed = (await world.client.get("/v1/auth/sessions", headers=token)).json()["items"]
    assert len(listed) == 2
    assert (await world.client.delete("/v1/auth/sessions", headers=token)).status_code == 200
    assert not await is_signed_in(browser)


async def test_another_password_ends_all_other_sessions(world: World) -> None:
    one, other = Browser(world), Browser(world)
    await one.sign_in("S1502")
    await other.sign_in("S1502")
    new = "走访要留痕但不为痕迹"
    page = await one.get("/password")
    fields = {"password": PASSWORD, "new_password": new}
    differs = await one.send(page, "password", **fields, repeated="x")
    assert differs.status_code == 422
    assert await is_signed_in(other)
    done = await one.send(page, "password", **fields, repeated=new)
    assert done.headers["location"] == "/password?done=1"
    assert await is_signed_in(one)
    assert not await is_signed_in(other)


async def test_a_first_password_is_changed_before_anything_else(world: World) -> None:
    await world.fetch("UPDATE cadre SET must_change = true WHERE staff_code = 'S1502'")
    browser = Browser(world)
    assert (await browser.sign_in("S1502")).headers["location"] == "/password"
    assert (await browser.get(WEEK)).headers["location"] == "/password"
    assert (await browser.get("/password")).status_code == 200


async def test_a_role_that_must_have_a_second_factor_sets_it_up_before_anything_else(
    world: World,
) -> None:
    world.state.settings.otp_roles = ["supervisor"]
    browser = Browser(world)
    await browser.sign_in("S1502")
    assert (await browser.get(WEEK)).headers["location"] == "/second-factor"
    page = await browser.get("/second-factor")
    wrong = await browser.send(page, "second-factor", password="wrong")
    assert wrong.status_code == 401
    begun = await browser.send(page, "second-factor", password=PASSWORD)
    totp = pyotp.TOTP(hidden(begun.text, "secret"))
    refused = await browser.send(begun, "second-factor-code", otp="000000")
    assert hidden(refused.text, "secret") == totp.secret
    done = await browser.send(begun, "second-factor-code", otp=totp.at(world.clock.now()))
    assert done.text.count("<li><code>") == 10
    assert (await browser.get(WEEK)).status_code == 200


async def test_who_loses_every_post_sees_no_page_any_more(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    await world.fetch("UPDATE post SET valid_to = $1 WHERE staff_code = 'S1502'", world.clock.now())
    page = await browser.get(WEEK)
    assert page.status_code == 403
    assert (await browser.send(page, "signout")).headers["location"] == "/signin"


async def test_an_account_without_a_password_cannot_go_on(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in(SUPERVISOR)
    admin = {"Authorization": f"Bearer {await world.token('admin')}"}
    ended = await world.client.delete(f"/v1/cadres/{SUPERVISOR}/sessions", headers=admin)
    assert ended.status_code == 200, ended.text
    assert not await is_signed_in(browser)


async def test_a_session_ends_when_nobody_asks_for_a_page(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    for _ in range(3):
        world.clock.forward(minutes=59)
        assert await is_signed_in(browser)
    world.clock.forward(minutes=60)
    assert not await is_signed_in(browser)


async def test_a_session_ends_after_its_hours_however_busy_it_is(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    for _ in range(14):
        world.clock.forward(minutes=50)
        assert await is_signed_in(browser)
    world.clock.forward(minutes=50)
    assert not await is_signed_in(browser)


async def test_a_form_without_its_token_is_refused(world: World) -> None:
    browser, other = Browser(world), Browser(world)
    await browser.sign_in("S1502")
    await other.sign_in(SUPERVISOR)
    theirs = form_of((await other.get("/help")).text, "signout").fields["csrf"]
    for token in ("", "x", "0.0.0", theirs):
        assert (await browser.post("/signout", {"csrf": token})).status_code == 403
    assert await is_signed_in(browser)


@pytest.mark.parametrize("path", ["/signout", "/signin", "/seal", "/password"])
async def test_a_form_of_another_page_is_refused(world: World, path: str) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    token = hidden((await browser.get("/help")).text, "csrf")
    fields = {"csrf": token, "username": "S1502", "password": PASSWORD}
    for headers in (
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "https://gridloop.test.evil.test"},
    ):
        assert (await browser.post(path, fields, **headers)).status_code == 403
    no_origin = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
    foreign = await browser.client.post(path, data=fields, headers=no_origin)
    assert foreign.status_code == 403
    assert await is_signed_in(browser)


async def a_typed_form(world: World, browser: Browser) -> dict[str, str]:
    """The fields of a form that somebody fills in while the session ends."""
    await browser.sign_in("S1502")
    fields = form_of((await browser.get(WEEK)).text, "seal").fields
    world.clock.forward(hours=2)
    return fields


async def test_what_was_typed_when_the_session_ended_is_sent_after_signing_in(
    world: World,
) -> None:
    browser = Browser(world)
    fields = await a_typed_form(world, browser)
    asked = await browser.post("/seal", fields)
    assert asked.status_code == 401
    again = await browser.sign_in("S1502", carried=hidden(asked.text, "carried"))
    form = sent_again(again.text)
    assert form.path == "/seal"
    assert {**form.fields, "csrf": ""} == {**fields, "csrf": ""}
    assert (await browser.post(form.path, form.fields)).status_code == 303
    sealed = await world.get("/v1/summaries/weekly", "S1502", unit="1502", week="2026-W46")
    assert sealed.json()["sealed"]


async def test_what_somebody_else_typed_is_not_sent(world: World) -> None:
    browser = Browser(world)
    fields = await a_typed_form(world, browser)
    asked = await browser.post("/seal", fields)
    again = await browser.sign_in(SUPERVISOR, carried=hidden(asked.text, "carried"))
    assert "data-send-at-once" not in again.text
    assert 'role="alert"' in again.text


async def test_files_are_chosen_again_and_all_else_is_kept(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("admin")
    page = await browser.get("/admin/imports")
    fields = form_of(page.text, "import").fields | {"dry_run": "true"}
    world.clock.forward(hours=2)
    headers = {"Accept": "text/html", "Origin": browser.origin}
    files = [("files", (name, b"x", "text/csv")) for name in ("名册<b>.csv", "农牧户.csv")]
    asked = await browser.client.post("/admin/imports", data=fields, files=files, headers=headers)
    assert asked.status_code == 401
    assert "文件无法保留" in asked.text
    assert "名册&lt;b&gt;.csv、农牧户.csv" in asked.text
    again = await browser.sign_in("admin", carried=hidden(asked.text, "carried"))
    assert "data-send-at-once" not in again.text
    assert "名册&lt;b&gt;.csv、农牧户.csv" in again.text
    assert 'type="file" name="files"' in again.text
    form = form_of(again.text, "send-again")
    assert (form.path, form.fields["dry_run"]) == ("/admin/imports", "true")
    taken = await browser.client.post(form.path, data=form.fields, files=files, headers=headers)
    assert taken.status_code == 303, taken.text

    world.clock.forward(hours=2)
    long = await browser.client.post(
        "/admin/imports", data=fields | {"note": "长" * 14_000}, files=files, headers=headers
    )
    assert long.status_code == 401
    assert "内容太长" in long.text


async def test_a_form_that_stayed_open_over_a_new_sign_in_still_works(world: World) -> None:
    browser = Browser(world)
    fields = await a_typed_form(world, browser)
    await browser.sign_in("S1502")
    assert (await browser.post("/seal", fields)).status_code == 303


@pytest.mark.parametrize("carried", ["x", "[]", '["//evil.test", []]', '["/seal", [1]]', "{}"])
async def test_carried_nonsense_is_left_out(world: World, carried: str) -> None:
    done = await Browser(world).sign_in("S1502", carried=carried)
    assert (done.status_code, done.headers["location"]) == (303, "/")


async def test_a_part_of_a_page_leads_the_whole_page_to_signing_in(world: World) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": f"https://gridloop.test{WEEK}"}
    asked = await Browser(world).client.get(WEEK, headers=headers)
    assert asked.status_code == 401
    assert asked.headers["hx-redirect"].startswith("/signin?then=%2Fweek%3Funit%3D1502")


async def test_signing_in_again_ends_the_session_that_the_browser_had(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in("S1502")
    before = dict(browser.client.cookies)
    await browser.post("/signin", {"username": SUPERVISOR, "password": PASSWORD})
    old = Browser(world)
    old.client.cookies.update(before)
    assert not await is_signed_in(old)
    assert await is_signed_in(browser)


async def test_old_sessions_are_purged_with_the_rest(world: World) -> None:
    browser = Browser(world)
    await browser.sign_in(WORKER)
    later = world.clock.now() + timedelta(days=2)
    await purge(world.state.database, world.state.settings, later)
    assert await world.fetch("SELECT FROM page_session") == []
