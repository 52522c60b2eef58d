"""What every page stands on: who looks at it, with the rights of REST, and how it is answered.

A page is a route like those of REST, in a router made by `pages_router`. It takes a `Signed` visit,
or a `Posted` one where it is the target of a form, and answers with `visit.page(…)`.
"""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from service.identity import page_sessions
from service.identity.access import Caller, right_of, standing
from service.identity.page_sessions import PageSession
from service.identity.rights import right_to
from service.kit.errors import (
    FORM_REFUSED,
    OTP_ENROLMENT_NEEDED,
    PASSWORD_CHANGE_NEEDED,
    SESSION_ENDED,
    Problem,
)
from service.kit.localization import FOR_PEOPLE, Language, asked_for
from service.kit.state import State, state_of
from service.pages import navigation
from service.pages.carried import carried_from, read_carried
from service.pages.templates import rendered

# A page is about people: neither a browser nor anything between keeps it.
_NEVER_KEPT = {"Cache-Control": "no-store"}
# Where to go before anything else.
_FIRST = {PASSWORD_CHANGE_NEEDED: "/password", OTP_ENROLMENT_NEEDED: "/second-factor"}


class SignInNeeded(Exception):
    """Nobody is signed in, or not any more."""


class Visit:
    """Somebody signed in who looks at a page. `caller`: the same with the right of the route of
    REST that the page shows.
    """

    def __init__(self, request: Request, session: PageSession, caller: Caller) -> None:
        self.request = request
        self.state: State = state_of(request)
        self.session = session
        self.caller = caller

    @property
    def language(self) -> Language:
        """The language of the page."""
        return language_of_page()

    def may(self, operation: str) -> bool:
        """Whether a route of REST, or a page, would answer this person."""
        right = right_to(operation)
        return right.signed or bool(self.caller.with_right(right).units_or_none())

    def to(self, operation: str) -> Caller:
        """The caller with the right of another route of REST, for what that answers."""
        return self.caller.with_right(right_to(operation))

    def may_at(self, operation: str, unit: str) -> bool:
        """Whether that right holds for a unit."""
        caller = self.to(operation)
        return bool(caller.units_or_none()) and caller.reaches(unit)

    def own_unit(self) -> str | None:
        """The topmost unit that this person sees numbers of; None of who sees none."""
        units = self.to("weekly_summary").units_or_none()
        return min(units, key=lambda code: (len(code), code)) if units else None

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page from its template."""
        return answer(self.request, template, status, **values)

    def go(self, path: str, part: str = "", **parameters: str) -> Response:
        """Goes on to another page, or to a part of it, after a form was carried out."""
        query = f"?{urlencode(parameters)}" if parameters else ""
        place = f"#{part}" if part else ""
        return RedirectResponse(path + query + place, 303, headers=_NEVER_KEPT)


def language_of_page() -> Language:
    """The language of the page at hand."""
    return asked_for.get() or FOR_PEOPLE


def answer(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page from its template, with what the layout shows of who is signed in."""
    visit: Visit | None = request.scope.get("visit")
    session = page_sessions.kept_of(request)
    context: dict[str, Any] = {
        "path": request.url.path,
        "here": _here(request),
        "session": session,
        "form_token": "",
        "entries": navigation.entries(visit.may) if visit else (),
        "unit": None,
    }
    if session is not None:
        # Of who has no post any more, too: they may still sign out.
        context["form_token"] = page_sessions.form_token(state_of(request), session.staff_code)
    context |= values
    text = rendered(template, language_of_page(), **context)
    return HTMLResponse(text, status, headers=_NEVER_KEPT)


def _here(request: Request) -> Callable[..., str]:
    """Makes the address of the page at hand with some parameters changed."""

    def here(**changes: Any) -> str:
        given = dict(request.query_params) | changes
        given.pop("lang", None) if "lang" not in changes else None
        query = urlencode({name: value for name, value in given.items() if value is not None})
        return f"{request.url.path}?{query}" if query else request.url.path

    return here


async def signed(request: Request) -> Visit:
    """Who is signed in and may see this page; raises `SignInNeeded` or `Problem`."""
    state = state_of(request)
    session = await page_sessions.of_request(state, request)
    if session is None or not session.is_good:
        raise SignInNeeded
    try:
        caller = await standing(request, state, session.claims, right_of(request))
    except Problem as problem:
        if problem.type is SESSION_ENDED:
            raise SignInNeeded from None
        raise
    visit = Visit(request, session, caller)
    request.scope["visit"] = visit
    if not caller.right.signed:
        caller.units()
    return visit


async def posted(request: Request, form_token: Annotated[str, Form(alias="csrf")] = "") -> Visit:
    """The same of a form, which must come from a page of ours."""
    refuse_other_origins(request)
    visit = await signed(request)
    if not page_sessions.is_form_token(visit.state, visit.caller.staff_code, form_token):
        raise Problem(
            FORM_REFUSED,
            "This form is too old, or of somebody else who was signed in here; open the page again"
            " and fill it in anew.",
        )
    return visit


def refuse_other_origins(request: Request) -> None:
    """Raises `Problem` for a form that a page of another origin sends."""
    if page_sessions.is_from_elsewhere(request):
        raise Problem(
            FORM_REFUSED, "This form was sent by a page of another address; open the page here."
        )


Signed = Annotated[Visit, Depends(signed)]
Posted = Annotated[Visit, Depends(posted)]


class PageRoute(APIRoute):
    """A route that leads to signing in where nobody is signed in, and back again."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        handle = super().get_route_handler()

        async def answer_page(request: Request) -> Response:
            try:
                return await handle(request)
            except SignInNeeded:
                return await _to_sign_in(request)
            except Problem as problem:
                if problem.type in _FIRST and request.url.path != _FIRST[problem.type]:
                    return RedirectResponse(_FIRST[problem.type], 303, headers=_NEVER_KEPT)
                raise

        return answer_page


def pages_router() -> APIRouter:
    """A router for pages; they are no part of the API."""
    return APIRouter(
        route_class=PageRoute, include_in_schema=False, default_response_class=HTMLResponse
    )


async def _to_sign_in(request: Request) -> Response:
    if "hx-request" in request.headers:
        # A part of a page cannot hold the form; the whole page goes there.
        then = urlsplit(request.headers.get("hx-current-url", "/"))
        here = f"{then.path}?{then.query}" if then.query else then.path
        leads = {"HX-Redirect": f"/signin?{urlencode({'then': here})}"}
        return Response(status_code=401, headers=_NEVER_KEPT | leads)
    if request.method == "POST":
        # What was typed goes with the form of the sign-in, and is sent again after it.
        carried = carried_from(request.url.path, await request.form())
        values = sign_in_values(carried=carried, has_lost=not carried)
        return answer(request, "sign_in.html", 401, **values)
    query = request.url.query
    asked = f"{request.url.path}?{query}" if query else request.url.path
    parameters = {} if asked == "/" else {"then": asked}
    path = f"/signin?{urlencode(parameters)}" if parameters else "/signin"
    return RedirectResponse(path, 303, headers=_NEVER_KEPT)


def sign_in_values(**given: Any) -> dict[str, Any]:
    """What the template of signing in takes."""
    form = read_carried(given.get("carried") or "")
    files = [name for names in form.files.values() for name in names] if form else []
    return {
        "message": None,
        "username": "",
        "then": "",
        "carried": "",
        "files": files,
        "has_files": bool(form and form.files),
        "has_lost": False,
        "proof": "",
        "asks_code": False,
    } | given
