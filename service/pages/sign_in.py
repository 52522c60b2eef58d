"""Signing in to the pages and out of them."""

import base64
import json
from typing import Annotated

from cryptography.fernet import Fernet, InvalidToken
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from service.identity import page_sessions
from service.identity import routes as identity
from service.identity.password_grant import sign_in
from service.identity.token_models import Grant
from service.identity.tokens import Tokens, derived_key
from service.kit.errors import OTP_NEEDED, Problem
from service.kit.state import State, state_of
from service.pages.carried import Carried, is_local_path, read_carried
from service.pages.page import (
    Posted,
    answer,
    pages_router,
    refuse_other_origins,
    sign_in_values,
)

router: APIRouter = pages_router()

# How long the code of the second factor may take, once the password was right.
_PROOF_LASTS_S = 300


@router.get("/signin", operation_id="sign_in_page")
async def sign_in_page(request: Request, then: str = "") -> Response:
    """The form; who is signed in already goes on."""
    session = await page_sessions.of_request(state_of(request), request)
    if session is not None and session.is_good:
        return _gone_to(then)
    return answer(request, "sign_in.html", **sign_in_values(then=then))


@router.post("/signin", operation_id="sign_in_to_pages")
async def sign_in_to_pages(
    request: Request,
    username: Annotated[str, Form(max_length=80)] = "",
    password: Annotated[str, Form(max_length=200)] = "",
    otp: Annotated[str, Form(max_length=20)] = "",
    proof: Annotated[str, Form(max_length=2_000)] = "",
    then: Annotated[str, Form(max_length=2_000)] = "",
    carried: Annotated[str, Form()] = "",
) -> Response:
    """Signs in as the token endpoint does, with the same limits of attempts. The code is asked for
    where the account has a second factor; the password need not be typed again for it.
    """
    refuse_other_origins(request)
    state = state_of(request)
    if proof and not password:
        username, password = _proven(state, proof) or (username, "")
    grant = Grant(grant_type="password", username=username, password=password, otp=otp or None)
    now = state.now()
    await state.of(Tokens).ready()
    try:
        begun = await sign_in(state, request, grant, now, page_sessions.end_of_new(state, now))
    except Problem as problem:
        asks_code = problem.type is OTP_NEEDED
        values = sign_in_values(
            username=username,
            then=then,
            carried=carried,
            # That the code is missing is no mistake of whoever was not asked for it.
            message=None if asks_code and not otp else problem.detail,
            asks_code=asks_code,
            proof=_proof(state, username, password) if asks_code else "",
        )
        page = answer(request, "sign_in.html", problem.type.status, **values)
        page.headers.update(problem.headers)
        return page
    staff_code = begun.token.staff_code
    cookie = await page_sessions.begin(state, request, begun.token.family, staff_code)
    form = read_carried(carried) if carried else None
    if form is not None:
        found = _sent_again(request, state, staff_code, form)
    elif begun.password_change_needed:
        found = _gone_to("/password")
    else:
        found = _gone_to(then)
    page_sessions.set_cookie(request, found, cookie)
    return found


def _gone_to(then: str) -> Response:
    path = then if is_local_path(then) and not then.startswith("/signin") else "/"
    return RedirectResponse(path, 303, headers={"Cache-Control": "no-store"})


def _sent_again(request: Request, state: State, staff_code: str, form: Carried) -> Response:
    """Offers to send a form again that was typed before the session ended."""
    is_own = page_sessions.is_form_token(state, staff_code, form.token)
    token = page_sessions.form_token(state, staff_code)
    return answer(request, "send_again.html", form=form, is_own=is_own, form_token=token)


@router.post("/signout", operation_id="sign_out_of_pages")
async def sign_out(visit: Posted) -> Response:
    """Ends the session of this browser."""
    await identity.sign_out(visit.request, visit.to("sign_out"))
    return await _signed_out(visit)


@router.post("/signout/everywhere", operation_id="sign_out_everywhere")
async def sign_out_everywhere(visit: Posted) -> Response:
    """Ends every sign-in of one's own: browsers, apps and phones."""
    await identity.end_own(visit.request, visit.to("end_own_sessions"))
    return await _signed_out(visit)


async def _signed_out(visit: Posted) -> Response:
    await page_sessions.end(visit.state, visit.session)
    found = visit.go("/signin")
    page_sessions.drop_cookie(visit.request, found)
    return found


def _cipher(state: State) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(derived_key(state.settings, b"page sign-in")))


def _proof(state: State, username: str, password: str) -> str:
    """That a password was right, for the form that asks for the code; nobody else can read it."""
    text = json.dumps([username, password]).encode()
    return _cipher(state).encrypt_at_time(text, int(state.now().timestamp())).decode()


def _proven(state: State, proof: str) -> tuple[str, str] | None:
    now = int(state.now().timestamp())
    try:
        text = _cipher(state).decrypt_at_time(proof.encode(), _PROOF_LASTS_S, now)
    except (InvalidToken, ValueError):
        return None
    username, password = json.loads(text)
    return username, password
