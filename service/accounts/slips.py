"""First passwords on the first day: a slip of paper for each person, with a one-time code by which
the person chooses a password.
"""

from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import xlsxwriter

from service.accounts import queries
from service.identity.account_routes import PURPOSE
from service.identity.one_time_codes import Kept, keep_codes, new_code
from service.kit.conditions import Range
from service.kit.database import Database
from service.kit.settings import Settings
from service.organisation.tree import Tree
from service.organisation.trees import current_tree
from service.vocabulary.keeping import current_reference_data
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
    """What stands on a slip. `staff_code`: the one by which the person signs in; `place`: the names
    of the unit and of those above it, from the banner down; `title`: what the person is called
    there, else the role by its name of today.
    """

    staff_code: str
    name: str
    role: str
    unit: str
    place: str
    code: str
    title: str = ""


class NoSuchUnit(Exception):
    """There is no unit with this code."""


async def give_codes(
    database: Database,
    settings: Settings,
    unit: str,
    now: datetime,
    expires_at: datetime,
    within: Sequence[Range] | None = None,
) -> list[Slip]:
    """Gives a one-time code to everybody who has a post in a unit and no password, in order of the
    unit; some at a time. `within`: only to those whose posts all lie in these ranges, so that
    nobody gets a code of somebody who stands above, or elsewhere too. Raises `NoSuchUnit`; the
    empty code is everywhere.
    """
    slips: list[Slip] = []
    after = ("", "")
    while True:
        async with database.transaction() as connection:
            tree = await current_tree(connection)
            if unit and unit not in tree.units:
                raise NoSuchUnit(unit)
            subtree = tree.subtree(unit, local_day(now))
            rows = await queries.without_password(connection, subtree, now, after, _AT_ONCE, within)
            paths = {row["unit"]: _path(tree, row["unit"], local_day(now)) for row in rows}
            names = await queries.unit_names(
                connection, {c for path in paths.values() for c in path}
            )
            vocabulary = (await current_reference_data(connection)).vocabulary
            roles = vocabulary.labels("role", local_day(now))
            for row in rows:
                code, label = new_code(), roles.get(row["role"])
                kept = Kept(row["staff_code"], PURPOSE)
                await keep_codes(connection, settings, kept, [code], now, expires_at)
                slips.append(
                    Slip(
                        row["shown_code"],
                        row["name"],
                        row["role"],
                        row["unit"],
                        " ".join(names.get(one, one) for one in paths[row["unit"]]),
                        code,
                        row["title"] or (label.zh if label is not None else ""),
                    )
                )
        if len(rows) < _AT_ONCE:
            return slips
        after = rows[-1]["unit"], rows[-1]["staff_code"]


def _path(tree: Tree, unit: str, day: date) -> list[str]:
    """A unit with those above it but for the topmost, from above down."""
    above = tree.above(unit, day)[:-1]
    return [*reversed(above), unit]


def role_of(slip: Slip) -> str:
    """What the person is called there."""
    role = ROLES[slip.role].zh if slip.role in ROLES else slip.role
    return slip.title or role


def write_slips(path: Path, slips: Sequence[Slip], expires_at: datetime) -> None:
    """Writes the slips, each with a line to cut along, ready to print on A4."""
    book = xlsxwriter.Workbook(
        path, {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    )
    sheet = book.add_worksheet("登录口令")
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    for place, width in enumerate((44, 12, 20, 24, 22, 14)):
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
        texts = (slip.place, slip.name, role_of(slip), slip.staff_code, slip.code, until)
        for place, text in enumerate(texts):
            sheet.write_string(row + 1, place, text, code if place == 4 else cell)
        for place in range(len(_HEADERS)):
            sheet.write_string(row + 2, place, _HOW if place == 0 else "", how)
        row += 3
    book.close()
