"""Articles are written, looked at, published and withdrawn by who edits them over REST."""

import re

import pytest

from simulator.places import TOWNSHIP, VILLAGE
from sync_protocol.vocabulary import ROLES
from tests.pages.administering import HOSTILE, browser_of, forged, said, send
from tests.pages.browsing import figures, somebody_with
from tests.pages.test_numbers import rows_of
from tests.world import SECRETARY, WORKER, World


async def test_an_article_is_looked_at_kept_published_and_withdrawn(world: World) -> None:
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/admin/articles/new", unit=VILLAGE)
    fields = {"kind": "policy", "title": f"标题{HOSTILE}", "body": f"第一行\r\n{HOSTILE}"}
    look = await browser.send(page, "article-write", **fields, look="yes")
    assert look.status_code == 200
    assert "<img" not in look.text
    assert "标题&lt;img" in look.text
    assert (await world.get("/v1/articles", SECRETARY)).json()["items"] == []
    kept = await send(browser, look, "article-write", **fields)
    [item] = (await world.get("/v1/articles", SECRETARY)).json()["items"]
    assert (item["state"], item["body"]) == ("draft", f"第一行\n{HOSTILE}")
    assert (item["unit"], item["title"]) == (VILLAGE, fields["title"])
    changed = await send(browser, kept, "article-change", **fields | {"title": "新标题"})
    assert "新标题" in changed.text
    published = await send(browser, changed, "article-publish")
    assert 'data-state="published"' in published.text
    assert (await world.get(f"/v1/articles/{item['id']}", WORKER)).status_code == 200
    listed = rows_of((await browser.get("/admin/articles", state="published")).text, "articles")
    assert [*listed] == [item["id"]]
    withdrawn = await send(browser, published, "article-withdraw")
    assert 'data-state="withdrawn"' in withdrawn.text
    assert "article-change" not in withdrawn.text
    late = await browser.send(published, "article-change", **fields)
    assert late.status_code == 409
    assert said(late)


async def test_reads_are_those_of_rest(world: World) -> None:
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/admin/articles/new", unit=VILLAGE)
    kept = await send(browser, page, "article-write", kind="policy", title="一", body="二")
    published = await send(browser, kept, "article-publish")
    [id] = re.findall(r'data-article="([0-9a-f-]{36})"', published.text)
    await world.post("/v1/articles/reads", {"reads": [{"article": id, "count": 3}]}, WORKER)
    shown = await browser.get(f"/admin/articles/{id}", month="2026-11")
    rest = (
        await world.get(f"/v1/articles/{id}/reads", SECRETARY, unit=VILLAGE, month="2026-11")
    ).json()
    assert figures(shown.text)["reads"] == str(rest["whole"]["reads"]) == "3"
    rows = rows_of(shown.text, "reads")
    for one in rest["below"]:
        assert figures(rows[one["unit"]["code"]])["phone"] == str(one["phone"])


async def test_an_article_without_a_title_is_shown_again(world: World) -> None:
    browser = await browser_of(world, SECRETARY)
    page = await browser.get("/admin/articles/new", unit=VILLAGE)
    refused = await browser.send(page, "article-write", kind="policy", title="", body="还在")
    assert refused.status_code == 422
    assert "还在" in refused.text
    long = await browser.send(page, "article-write", kind="policy", title="一", body="长" * 20_001)
    assert long.status_code == 422


@pytest.mark.parametrize("role", list(ROLES))
async def test_a_role_writes_what_it_may_over_rest(world: World, role: str) -> None:
    somebody = await somebody_with(world, role, VILLAGE)
    if somebody is None:
        return
    browser, _ = somebody
    edits = role in ("village_secretary", "first_secretary", "supervisor", "admin")
    page = await browser.get("/admin/articles", unit=VILLAGE)
    assert page.status_code == (200 if edits else 403)
    draft = {"kind": "policy", "title": "t", "body": "b"}
    status = await forged(browser, "/admin/articles/new", **draft, unit=VILLAGE)
    assert status == (303 if edits else 403)
    assert await forged(browser, "/admin/articles/new", **draft, unit=TOWNSHIP) == (
        404 if edits else 403
    )
    assert "/admin/articles" in (await browser.get("/admin")).text or not edits
