"""`gridloop account`: passwords and second factors of cadres, accounts of apps."""

import logging
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.audit.audit_log import record_operator
from service.cli.console import console
from service.cli.database import database_url, run
from service.cli.options import Data, chosen
from service.cli.refusals import WRONG_USE, Refusal, say, writing
from service.kit.database import Database
from service.kit.now import utc_now
from sync_protocol.texts import Text

if TYPE_CHECKING:
    from service.accounts.slips import Slip

log = logging.getLogger("gridloop")
account_app = typer.Typer(
    no_args_is_help=True, help="Passwords of cadres, accounts of apps. 干部的密码，应用的账号。"
)


@account_app.command("password")
def account_password(
    staff_code: str,
    data: Data = None,
    password: Annotated[
        str,
        typer.Option(
            prompt=True,
            confirmation_prompt=True,
            hide_input=True,
            help="Asked for when left out. 不写则会询问。",
        ),
    ] = "",
) -> None:
    """Give a cadre a first password, which must be changed at the first sign-in: how the first
    administrator gets in.

    给干部设第一个密码，首次登录后须更改；第一位管理员由此开始。
    """
    from service.identity import queries
    from service.identity.account_routes import PURPOSE
    from service.identity.passwords import hasher, refuse_weak
    from service.identity.second_factor_queries import delete_codes
    from service.identity.session_queries import end_sessions, lock_sign_ins
    from service.identity.staff_codes import key_of

    async def give(database: Database) -> None:
        now = utc_now()
        expires_at = now + timedelta(hours=settings.first_password_hours)
        async with database.transaction() as connection:
            key = await key_of(connection, staff_code)
            await lock_sign_ins(connection, key)
            await queries.refuse_erased(connection, key)
            if await queries.cadre(connection, key) is None:
                raise Refusal(
                    Text("There is no cadre ‘{cadre}’; load the roster first.", cadre=staff_code)
                )
            posts = await queries.posts_of(connection, key)
            if all(post.valid_to is not None and post.valid_to <= now for post in posts):
                raise Refusal(
                    Text(
                        "‘{cadre}’ has no post any more, so that no password would let them in.",
                        cadre=staff_code,
                    )
                )
            await end_sessions(connection, key, now, "password")
            await queries.set_password(connection, key, hasher.hash(password), expires_at)
            await delete_codes(connection, key, PURPOSE)
            await record_operator(connection, now, "password-set", key)

    with database_url(chosen(data)) as settings:
        refuse_weak(password, [staff_code])
        run(settings, give)
        text = Text(
            "{cadre} signs in with this password within {hours} hours and then chooses another.",
            cadre=staff_code,
            hours=settings.first_password_hours,
        )
        say(console, text, "green")


@account_app.command("slips")
def account_slips(
    file: Annotated[Path, typer.Argument(help="What to print: .pdf or .xlsx. 打印用文件。")],
    unit: Annotated[
        str,
        typer.Option(
            help="Only people with a post there or below; left out: everywhere. 只限此单位及下级。"
        ),
    ] = "",
    days: Annotated[
        int, typer.Option(min=1, max=60, help="How many days a code is good. 有效天数。")
    ] = 14,
    font: Annotated[
        Path | None,
        typer.Option(
            help="A TrueType font (.ttf) with Chinese, to embed in the PDF; left out: one of"
            " this machine. 嵌入 PDF 的中文字体。"
        ),
    ] = None,
    data: Data = None,
) -> None:
    """Write a slip to cut off for everybody with a post and without a password: staff code, name,
    and a one-time code to choose a first password with. Earlier codes of theirs are void.

    为有任职而没有密码的每个人写出一张可裁开的口令条；其先前的口令作废。
    """
    from service.accounts.slip_pages import FontUnfit, font_here, refuse_unfit, write_pages
    from service.accounts.slips import NoSuchUnit, give_codes, write_slips

    now = utc_now()
    expires_at = now + timedelta(days=days)

    async def give(database: Database) -> "list[Slip]":
        try:
            slips = await give_codes(database, settings, unit, now, expires_at)
        except NoSuchUnit:
            raise Refusal(
                Text("There is no unit ‘{unit}’; load the roster first.", unit=unit)
            ) from None
        async with database.transaction() as connection:
            await record_operator(connection, now, "slips-given", unit, len(slips))
        return slips

    kind = file.suffix.lower()
    if kind not in (".pdf", ".xlsx"):
        text = Text("{file}: slips are written as .pdf or .xlsx; name such a file.", file=file)
        raise Refusal(text, WRONG_USE)

    # Whatever cannot be written is said before anybody's earlier code is void.
    with writing(file):
        file.touch(0o600)
        file.chmod(0o600)
    try:
        refuse_unfit(font)
    except FontUnfit:
        text = Text(
            "{font} is no TrueType font that can be embedded; name a .ttf file, or leave --font"
            " out.",
            font=font,
        )
        raise Refusal(text, WRONG_USE) from None
    if kind == ".pdf" and font is None:
        font = font_here()
        if font is None:
            text = Text(
                "This machine has no font with Chinese that can be embedded, so that the PDF is"
                " shown in the font of whoever opens it; name one with --font if it stays blank"
                " there."
            )
            say(console, text, "yellow")
    with database_url(chosen(data)) as settings:
        slips = run(settings, give, keys=True)
        with writing(file):
            if kind == ".pdf":
                write_pages(file, slips, expires_at, font)
            else:
                write_slips(file, slips, expires_at)
    say(
        console,
        Text(
            "The slips are in {file}, so many: {count}. Print it, hand them out, and delete the"
            " file.",
            count=len(slips),
            file=file,
        ),
        "green",
    )


@account_app.command("reset-otp")
def account_reset_otp(staff_code: str, data: Data = None) -> None:
    """Take a cadre's second factor away: for an administrator who has lost the app and the recovery
    codes. Ends the sign-ins.

    取消干部的第二验证因素，用于管理员丢失验证器和恢复码时。
    """
    from service.identity.second_factor_queries import forget_second_factor
    from service.identity.session_queries import end_sessions, lock_sign_ins
    from service.identity.staff_codes import key_of

    async def reset(database: Database) -> None:
        async with database.transaction() as connection:
            key = await key_of(connection, staff_code)
            await lock_sign_ins(connection, key)
            if not await forget_second_factor(connection, key):
                raise Refusal(
                    Text("‘{cadre}’ has no second factor; nothing was changed.", cadre=staff_code)
                )
            await end_sessions(connection, key, utc_now(), "second-factor")
            await record_operator(connection, utc_now(), "otp-reset", key)

    with database_url(chosen(data)) as settings:
        run(settings, reset)
    text = Text(
        "{cadre} signs in without a code, and sets up another second factor where the role asks"
        " for one.",
        cadre=staff_code,
    )
    say(console, text, "green")


@account_app.command("app")
def account_app_client(
    client_id: str,
    unit: Annotated[
        str,
        typer.Option(
            help="The unit for which the app works, with all below. 应用服务的单位及其下级。"
        ),
    ],
    scope: Annotated[
        list[str],
        typer.Option(help="What it may do; give it several times. 它能做什么，可写多次。"),
    ],
    name: Annotated[str, typer.Option(help="Its name for people. 给人看的名称。")] = "包头农牧",
    data: Data = None,
) -> None:
    """Make an app's account, or give it a new secret, which is shown once.

    新建应用账号或更换密钥，密钥只显示一次。
    """
    from service.accounts.app_accounts import CLIENT_ID
    from service.identity import client_queries, queries
    from service.identity.passwords import hasher
    from service.identity.rights import SCOPES
    from service.identity.tokens import new_refresh_token

    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise Refusal(
            Text(
                "There is no scope {unknown}; there are {scopes}.",
                unknown=", ".join(unknown),
                scopes=", ".join(SCOPES),
            )
        )
    if not re.fullmatch(CLIENT_ID, client_id):
        raise Refusal(
            Text("A client_id is 3 to 40 small letters, digits, - and _, and begins with a letter.")
        )
    secret = new_refresh_token()

    async def add(database: Database) -> None:
        async with database.transaction() as connection:
            if await queries.cadre(connection, client_id) is not None:
                raise Refusal(
                    Text("‘{client}’ is a cadre's staff code; choose another.", client=client_id)
                )
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM unit WHERE code = $1)", unit
            ):
                raise Refusal(Text("There is no unit ‘{unit}’; load the roster first.", unit=unit))
            await client_queries.add_client(
                connection,
                client_id,
                name,
                hasher.hash(secret),
                sorted(set(scope)),
                unit,
                utc_now(),
            )
            await record_operator(connection, utc_now(), "app-account-made", client_id)

    with database_url(chosen(data)) as settings:
        run(settings, add)
    typer.echo("\n".join((f"client_id: {client_id}", f"client_secret: {secret}")))
    say(console, Text("Keep the secret now: it is not shown again."), "yellow")


@account_app.command("end-app")
def account_end_app(client_id: str, data: Data = None) -> None:
    """End an app's account: its tokens stop being good.

    停用应用账号，其令牌随之失效。
    """
    from service.identity import client_queries

    async def end(database: Database) -> None:
        async with database.transaction() as connection:
            if not await client_queries.revoke_client(connection, client_id, utc_now()):
                raise Refusal(
                    Text("There is no app ‘{client}’, or it was ended before.", client=client_id)
                )
            await record_operator(connection, utc_now(), "app-account-ended", client_id)

    with database_url(chosen(data)) as settings:
        run(settings, end)
    say(console, Text("{client} was ended.", client=client_id), "green")
