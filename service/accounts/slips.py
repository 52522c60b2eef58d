"""First passwords on the first day: a slip of paper for each person, with a one-time code by which
the person chooses a password.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import xlsxwriter

from service.accounts import queries
from service.identity.account_routes import PURPOSE
from service.identity.one_time_codes import Kept, keep_codes, new_code
from service.kit.database import Database
from service.kit.settings import Settings
from service.organisation.trees import current_tree
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import ROLES

_AT_ONCE = 200
_HEADERS = (
    "单位 Unit",
    "姓名 Name",
    "职务 Role",
    "工号 Staff code",
    "一次性口令 One-time code",
    "有效期至 Good until",
)
_HOW = (
    "打开 App，选“忘记密码”，输入工号和一次性口令，设置自己的密码。"
    "口令只能用一次，请勿转交他人。"
    " · In the app choose ‘forgotten password’, enter staff code and code, and choose a password."
)


class Slip(NamedTuple):
    """What stands on a slip."""

    staff_code: str
    name: str
    role: str
    unit: str
    unit_name: str
    code: str


async def give_codes(
    database: Database, settings: Settings, unit: str, now: datetime, expires_at: datetime
) -> list[Slip]:
    """Gives a one-time code to everybody who has a post in a unit and no password, in order of the
    unit; some at a time.
    """
    slips: list[Slip] = []
    after = ("", "")
    while True:
        async with database.transaction() as connection:
            subtree = (await current_tree(connection)).subtree(unit, local_day(now))
            rows = await queries.without_password(connection, subtree, now, after, _AT_ONCE)
            for row in rows:
                code = new_code()
                kept = Kept(row["staff_code"], PURPOSE)
                await keep_codes(connection, settings, kept, [code], now, expires_at)
                slips.append(
                    Slip(
                        row["staff_code"],
                        row["name"],
                        row["role"],
                        row["unit"],
                        row["unit_name"] or "",
                        code,
                    )
                )
        if len(rows) < _AT_ONCE:
            return slips
        after = rows[-1]["unit"], rows[-1]["staff_code"]


def write_slips(path: Path, slips: Sequence[Slip], expires_at: datetime) -> None:
    """Writes the slips, each with a line to cut along, ready to print on A4."""
    book = xlsxwriter.Workbook(
        path, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    sheet = book.add_worksheet("登录口令")
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    for place, width in enumerate((28, 12, 20, 24, 22, 14)):
        sheet.set_column(place, place, width)
    small = book.add_format({"font_size": 8, "font_color": "#555555", "top": 1})
    cell = book.add_format({"valign": "vcenter"})
    code = book.add_format({"bold": True, "font_name": "Consolas", "font_size": 14})
    how = book.add_format({"font_size": 8, "bottom": 4})
    until = local_day(expires_at).isoformat()
    row = 0
    for slip in slips:
        for place, header in enumerate(_HEADERS):
            sheet.write_string(row, place, header, small)
        role = ROLES[slip.role].zh if slip.role in ROLES else slip.role
        texts = (slip.unit_name or slip.unit, slip.name, role, slip.staff_code, slip.code, until)
        for place, text in enumerate(texts):
            sheet.write_string(row + 1, place, text, code if place == 4 else cell)
        for place in range(len(_HEADERS)):
            sheet.write_string(row + 2, place, _HOW if place == 0 else "", how)
        row += 3
    book.close()
    path.chmod(0o600)
