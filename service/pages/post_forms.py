"""The forms of a cadre's posts: give, correct, end, transfer; and what goes to somebody else."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response

from service.accounts import handover, posts
from service.accounts.handover import Handover
from service.accounts.posts import PostCorrection, Transfer
from service.pages.cadre_admin import DONE, Code, cadre_page, key_of, new_post
from service.pages.forms import Typed, carried_out, made
from service.pages.page import Posted, Visit, pages_router
from service.pages.unit_choice import with_unit

router: APIRouter = pages_router()

Post = Annotated[str, Path(max_length=40, pattern=r"^[0-9a-f-]+$")]
_WHAT = ("problems", "contact", "lead")


async def _shown(visit: Visit, code: str, done: str, warnings: Any) -> Response:
    """The page after something was done; another request where nothing is to be known of it."""
    if warnings:
        return await cadre_page(visit, code, notice=DONE[done], warnings=warnings)
    return visit.go(f"/admin/cadres/{code}", done=done)


@router.post("/admin/cadres/{staff_code}/posts", operation_id="give_post_on_page")
async def give(visit: Posted, staff_code: Code) -> Response:
    """Gives another post."""

    async def work(typed: Typed) -> Response:
        post = new_post(await with_unit(visit, typed, "unit"))
        done = await posts.give_post(visit.request, visit.caller, code, post)
        return await _shown(visit, code, "given", done.warnings)

    code = await key_of(visit, staff_code)
    return await carried_out(visit, "post-give", work, lambda typed: cadre_page(visit, code, typed))


@router.post("/admin/cadres/{staff_code}/posts/{id}", operation_id="change_post_on_page")
async def change(visit: Posted, staff_code: Code, id: Post) -> Response:
    """Corrects the beginning, the end or the title of a post."""

    async def work(typed: Typed) -> Response:
        values: dict[str, Any] = {}
        # What is left as it was is not sent: a day has no time of day.
        if typed.get("valid_from") not in ("", typed.get("valid_from_was")):
            values["valid_from"] = typed.moment("valid_from")
        if typed.get("valid_to") != typed.get("valid_to_was"):
            values["valid_to"] = typed.moment("valid_to")
        if typed.get("title") != typed.get("title_was"):
            values["title"] = typed.get("title")
        body = made(PostCorrection, **values)
        done = await posts.change_post(visit.request, visit.caller, id, body)
        return await _shown(visit, code, "changed", done.warnings)

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, f"post-change {id}", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.post("/admin/cadres/{staff_code}/posts/{id}/end", operation_id="end_post_on_page")
async def end(visit: Posted, staff_code: Code, id: Post) -> Response:
    """Ends a post with the beginning of a day; at once where none is named."""

    async def work(typed: Typed) -> Response:
        body = made(PostCorrection, valid_to=typed.moment("valid_to") or visit.caller.now)
        done = await posts.change_post(visit.request, visit.caller, id, body)
        return await _shown(visit, code, "ended", done.warnings)

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, f"post-end {id}", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.post("/admin/cadres/{staff_code}/posts/{id}/transfer", operation_id="transfer_on_page")
async def transfer(visit: Posted, staff_code: Code, id: Post) -> Response:
    """Ends a post and begins another at the same moment."""

    async def work(typed: Typed) -> Response:
        there = await with_unit(visit, typed, "unit")
        to = made(Transfer, **there.only("unit", "role", "title"), valid_to=typed.moment("until"))
        at = typed.moment("valid_to")
        given = {"transfer": to} if at is None else {"transfer": to, "valid_to": at}
        done = await posts.change_post(
            visit.request, visit.caller, id, made(PostCorrection, **given)
        )
        return await _shown(visit, code, "transferred", done.warnings)

    code = await key_of(visit, staff_code)
    return await carried_out(
        visit, f"post-transfer {id}", work, lambda typed: cadre_page(visit, code, typed)
    )


@router.post("/admin/cadres/{staff_code}/handover", operation_id="hand_over_on_page")
async def hand_over(visit: Posted, staff_code: Code) -> Response:
    """Passes what somebody has in hand to somebody else; with `dry_run` shows what would go."""

    async def work(typed: Typed) -> Response:
        what = [name for name in typed.all("what") if name in _WHAT]
        body = made(
            Handover,
            **typed.only("to", "note"),
            what=what,
            dry_run=bool(typed.get("dry_run")),
        )
        done = await handover.hand_over(visit.request, visit.caller, code, body)
        notice = None if done.dry_run else DONE["handed-over"]
        again = typed if done.dry_run else Typed()
        return await cadre_page(
            visit, code, again, notice=notice, passed_on=done, warnings=done.warnings
        )

    code = await key_of(visit, staff_code)
    return await carried_out(visit, "hand-over", work, lambda typed: cadre_page(visit, code, typed))
