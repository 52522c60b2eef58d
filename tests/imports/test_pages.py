"""The import wizard: upload, try, read the report, have it written, take it back."""

import re
from typing import Any

import httpx

from service.imports.importer import Importer
from tests.imports.books import GRID, book
from tests.imports.city import City
from tests.imports.test_imports import changed
from tests.imports.test_rest import XLSX, peopled
from tests.pages.browsing import Browser, figures, form_of
from tests.pages.test_numbers import rows_of, same
from tests.world import until_none

__all__ = ["peopled"]


async def send(browser: Browser, page: httpx.Response, *files: bytes, **options: str) -> Any:
    """Sends files by the form of a page."""
    fields = {"csrf": form_of(page.text, "import").fields["csrf"]} | options
    return await browser.client.post(
        "/admin/imports",
        data=fields,
        files=[("files", ("名册<b>.xlsx", content, XLSX)) for content in files],
        headers={"Origin": browser.origin, "Accept": "text/html"},
    )


async def ended(city: City, browser: Browser, path: str) -> httpx.Response:
    """The page of an import once the service has carried it out."""
    found: list[httpx.Response] = []

    async def still() -> list[str]:
        city.world.state.of(Importer).wake()
        found.append(await browser.get(path))
        return re.findall("hx-trigger", found[-1].text)

    await until_none(still)
    return found[-1]


def added(head_name: str) -> bytes:
    """The workbook with a household more."""

    def edit(rows: list[list[Any]]) -> None:
        rows.append([GRID, "H7", head_name, "138-0000-0009", "1组7号", 2, "", ""])

    return book(changed(农牧户=edit))


async def test_files_are_tried_written_and_taken_back(peopled: City) -> None:
    browser = Browser(peopled.world)
    await browser.sign_in("A1")
    page = await browser.get("/admin/imports")
    peopled.world.clock.forward(seconds=1)
    tried = await send(browser, page, added("钱七"), dry_run="true")
    assert tried.status_code == 303
    report = await ended(peopled, browser, tried.headers["location"])
    assert 'data-state="checked"' in report.text
    id = tried.headers["location"].rpartition("/")[2]
    rest = (await peopled.world.get(f"/v1/imports/{id}", "A1")).json()
    rows = rows_of(report.text, "tallies")
    for tally in rest["tallies"]:
        for key, raw in figures(rows[tally["sheet"]]).items():
            assert same(raw, tally[key])
    assert "钱七" not in [row["head_name"] for row in await peopled.households()]
    peopled.world.clock.forward(seconds=1)
    written = await browser.send(report, "import-apply")
    assert written.headers["location"] == tried.headers["location"]
    done = await ended(peopled, browser, written.headers["location"])
    assert 'data-state="done"' in done.text
    assert "钱七" in [row["head_name"] for row in await peopled.households()]
    peopled.world.clock.forward(seconds=1)
    undone = await browser.send(done, "import-undo")
    after = await ended(peopled, browser, undone.headers["location"])
    assert 'data-state="undone"' in after.text
    listed = rows_of((await browser.get("/admin/imports")).text, "imports")
    assert id in listed


async def test_what_is_wrong_is_told_and_hostile_texts_are_only_text(peopled: City) -> None:
    def edit(rows: list[list[Any]]) -> None:
        rows.append([GRID + "9", "H9", "<script>x</script>", "<img>", "1组9号", "<b>", "", ""])

    browser = Browser(peopled.world)
    await browser.sign_in("A1")
    peopled.world.clock.forward(seconds=1)
    sent = await send(browser, await browser.get("/admin/imports"), book(changed(农牧户=edit)))
    report = await ended(peopled, browser, sent.headers["location"])
    assert 'data-state="refused"' in report.text
    assert int(figures(report.text)["fault_count"]) > 0
    for hostile in ("<script>x", "<img>", "名册<b>"):
        assert hostile not in report.text


async def test_a_form_without_its_token_or_its_files_takes_nothing_in(peopled: City) -> None:
    browser = Browser(peopled.world)
    await browser.sign_in("A1")
    page = await browser.get("/admin/imports")
    before = rows_of(page.text, "imports")
    refused = await send(browser, page, added("钱七"), csrf="x")
    assert refused.status_code == 403
    assert (await send(browser, page)).status_code == 422
    stranger = Browser(peopled.world)
    await stranger.sign_in("W1")
    token = {"csrf": form_of((await stranger.get("/help")).text, "signout").fields["csrf"]}
    mine = await stranger.client.post(
        "/admin/imports",
        data=token,
        files=[("files", ("x.xlsx", added("x"), XLSX))],
        headers={"Origin": stranger.origin, "Accept": "text/html"},
    )
    assert mine.status_code == 403
    assert rows_of((await browser.get("/admin/imports")).text, "imports").keys() == before.keys()


async def test_looking_on_leaves_no_line_and_the_report_one(peopled: City) -> None:
    browser = Browser(peopled.world)
    await browser.sign_in("A1")
    peopled.world.clock.forward(seconds=1)
    sent = await send(browser, await browser.get("/admin/imports"), added("钱七"), dry_run="true")
    path = sent.headers["location"]
    id = path.rpartition("/")[2]
    await ended(peopled, browser, path)
    await peopled.world.fetch("UPDATE roster_import SET state = 'checking' WHERE id = $1", id)

    async def lines() -> int:
        [row] = await peopled.world.fetch(
            "SELECT count(*) FROM audit WHERE action = 'roster-import-read'"
        )
        return int(row["count"])

    before = await lines()
    for _ in range(3):
        part = await browser.client.get(f"{path}/progress", headers={"HX-Request": "true"})
        assert part.status_code == 200
        assert f'hx-get="{path}/progress"' in part.text
        assert "<html" not in part.text
        assert (await browser.get(path)).status_code == 200
    assert await lines() == before
    await peopled.world.fetch("UPDATE roster_import SET state = 'checked' WHERE id = $1", id)
    over = await browser.client.get(f"{path}/progress", headers={"HX-Request": "true"})
    assert over.headers["hx-redirect"] == path
    assert (await browser.get(f"{path}/progress")).headers["location"] == path
    await browser.get(path)
    assert await lines() == before + 1


async def test_files_are_applied_by_who_may_and_chosen_again_once_they_are_gone(
    peopled: City,
) -> None:
    browser = Browser(peopled.world)
    await browser.sign_in("A1")
    peopled.world.clock.forward(seconds=1)
    sent = await send(browser, await browser.get("/admin/imports"), added("钱七"), dry_run="true")
    path = sent.headers["location"]
    page = await ended(peopled, browser, path)
    assert 'data-action="import-apply"' in page.text
    stranger = Browser(peopled.world)
    await stranger.sign_in("W1")
    token = form_of((await stranger.get("/help")).text, "signout").fields["csrf"]
    assert (await stranger.post(f"{path}/apply", {"csrf": token})).status_code == 403
    await peopled.world.fetch("DELETE FROM roster_import_file")
    assert (await browser.send(page, "import-apply")).status_code == 409
    page = await browser.get(path)
    assert 'data-action="import-apply"' not in page.text
    assert 'data-action="import"' in page.text
