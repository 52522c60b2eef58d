"""The sheets of a roster's workbook and their columns: the one declaration that the template, the
reading and the export use.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from service.imports import cells
from sync_protocol import vocabulary
from sync_protocol.vocabulary import Label

Clean = Callable[[str], Any]


class Column(NamedTuple):
    """A column: its name in the service, its header in both languages, and what else it is called.

    `masked`: how a value of it is shown in reports, by the name of a mask; empty: as it is.
    `choices`: the list of words that it takes, which `words.Words` reads. `is_free`: a text that
    may stand here in a form that a file may not bring; it is left alone then.
    """

    name: str
    header: Label
    clean: Clean
    required: bool = False
    masked: str = ""
    choices: str = ""
    width: int = 16
    also: tuple[str, ...] = ()
    note: Label = Label("", "")
    is_free: bool = False


class Sheet(NamedTuple):
    """A sheet. `examples`: rows for the template, by language, in the order of the columns."""

    name: str
    title: Label
    columns: tuple[Column, ...]
    examples: Mapping[str, tuple[tuple[str, ...], ...]]
    also: tuple[str, ...] = ()

    @property
    def by_name(self) -> dict[str, Column]:
        """Its columns by name."""
        return {column.name: column for column in self.columns}


_STAFF = Label("工号", "Staff code")
_UNIT_CODE = Label("单位编码", "Unit code")
_PHONE_NOTE = Label("数字；空格、短横线会去掉", "Digits; blanks and dashes are dropped")
_DAY_NOTE = Label("如 2026-11-01；不填即导入当天", "Like 2026-11-01; empty: the day of the import")

LEVELS = Sheet(
    "levels",
    Label("级别", "Levels"),
    (
        Column(
            "slug",
            Label("级别标识", "Level id"),
            cells.slug,
            True,
            width=20,
            also=("标识", "slug"),
            note=Label(
                "小写英文；从上到下排列，最下一级必须是 grid",
                "Small letters; from the top down, the lowest is always called grid",
            ),
        ),
        Column("name_zh", Label("级别名称", "Level name"), cells.words(40), True, width=20),
        Column("name_en", Label("英文名称", "English name"), cells.words(40), width=20),
        Column(
            "sees_tags",
            Label("可见类别", "Sees tags"),
            cells.yes_or_no,
            choices="yes_no",
            note=Label(
                "该级工作人员能否看到每户的类别；否则只看到数量",
                "Whether staff of this level see the tags of each household, or only their counts",
            ),
        ),
    ),
    {
        "zh": tuple(
            (f"例：{slug}", label.zh, label.en, "是" if place >= 2 else "否")
            for place, (slug, label) in enumerate(vocabulary.LEVELS.items())
        ),
        "en": tuple(
            (f"e.g. {slug}", label.zh, label.en, "yes" if place >= 2 else "no")
            for place, (slug, label) in enumerate(vocabulary.LEVELS.items())
        ),
    },
    also=("层级", "level"),
)
UNITS = Sheet(
    "units",
    Label("单位", "Units"),
    (
        Column(
            "code",
            _UNIT_CODE,
            cells.code,
            True,
            width=20,
            also=("编码", "区划代码", "代码", "code"),
            note=Label(
                "官方12位村编码；网格再加3位",
                "The official 12 digits of a village; 3 more for a grid",
            ),
        ),
        Column(
            "name",
            Label("名称", "Name"),
            cells.words(100),
            True,
            width=28,
            also=("单位名称", "unit name"),
            is_free=True,
        ),
        Column(
            "level",
            Label("级别", "Level"),
            cells.words(40),
            choices="level",
            also=("层级",),
            note=Label("不填则由编码长度得出", "Empty: follows from the length of the code"),
        ),
        Column(
            "parent",
            Label("上级编码", "Parent code"),
            cells.code,
            width=20,
            also=("上级单位", "上级", "parent"),
            note=Label("不填则由编码得出", "Empty: follows from the code"),
        ),
        Column(
            "name_mn",
            Label("蒙古文名称", "Mongolian name"),
            cells.words(120),
            width=20,
            is_free=True,
        ),
        Column(
            "kind",
            Label("类型", "Kind"),
            cells.words(40),
            also=("单位类型",),
            note=Label("如 镇、苏木、嘎查、村民小组", "Like town, sumu, gacha, villagers' group"),
            is_free=True,
        ),
        Column(
            "party_group",
            Label("党组织", "Party group"),
            cells.listed,
            choices="party_group",
        ),
        Column(
            "go_live",
            Label("上线日期", "Go-live day"),
            cells.day,
            also=("启用日期", "go live"),
            note=Label(
                "从这天起下属网格应报日志；不填则随上级",
                "The first day on which grids below owe their logs; empty: as the unit above",
            ),
        ),
    ),
    {
        "zh": (
            ("例：150221", "土默特右旗", "旗县区", "1502", "", "旗", "无", "2026-12-01"),
            ("例：150221100201001", "某村第1网格", "", "", "", "村民小组", "党小组", ""),
        ),
        "en": (
            (
                "e.g. 150221",
                "Tumd Right Banner",
                "banner",
                "1502",
                "",
                "banner",
                "none",
                "2026-12-01",
            ),
            (
                "e.g. 150221100201001",
                "Grid 1 of a village",
                "",
                "",
                "",
                "villagers' group",
                "party group",
                "",
            ),
        ),
    },
    also=("机构", "组织机构", "unit"),
)
PEOPLE = Sheet(
    "people",
    Label("人员", "People"),
    (
        Column(
            "staff_code", _STAFF, cells.staff_code, True, width=20, also=("人员编号", "staff_code")
        ),
        Column(
            "name",
            Label("姓名", "Name"),
            cells.words(60),
            True,
            "name",
            also=("人员姓名",),
            is_free=True,
        ),
        Column(
            "phone",
            Label("电话", "Phone"),
            cells.phone,
            masked="phone",
            also=("手机", "手机号", "手机号码", "联系电话", "电话号码", "mobile"),
            note=_PHONE_NOTE,
            is_free=True,
        ),
        Column(
            "party_member",
            Label("党员", "Party member"),
            cells.yes_or_no,
            choices="yes_no",
            also=("是否党员", "政治面貌"),
            note=Label(
                "今天是否党员；填了下面的日期可不填",
                "Today; may be empty where the days are given",
            ),
        ),
        Column(
            "party_from",
            Label("入党日期", "Member from"),
            cells.day,
            also=("入党时间", "党籍开始日期"),
            note=Label("不知道可不填", "May be empty where nobody knows"),
        ),
        Column(
            "party_to",
            Label("党籍截止日期", "Member to"),
            cells.day,
            also=("党籍结束日期", "出党日期"),
            note=Label("作为党员的最后一天；不填即仍是", "The last day as a member; empty: still"),
        ),
    ),
    {
        "zh": (("例：W0001", "张三", "138-0000-0000", "是", "2001-07-01", ""),),
        "en": (("e.g. W0001", "Zhang San", "138-0000-0000", "yes", "2001-07-01", ""),),
    },
    also=("干部", "干部名册", "cadres", "cadre", "person"),
)
POSTS = Sheet(
    "posts",
    Label("任职", "Posts"),
    (
        Column(
            "staff_code", _STAFF, cells.staff_code, True, width=20, also=("人员编号", "staff_code")
        ),
        Column(
            "role",
            Label("职务", "Role"),
            cells.listed,
            True,
            choices="role",
            width=24,
            also=("岗位", "角色"),
        ),
        Column(
            "unit",
            _UNIT_CODE,
            cells.code,
            True,
            width=20,
            also=("任职单位", "单位", "网格编码", "unit"),
        ),
        Column(
            "valid_from",
            Label("开始日期", "From"),
            cells.day,
            also=("任职日期", "起始日期", "start"),
            note=_DAY_NOTE,
        ),
        Column(
            "valid_to",
            Label("结束日期", "To"),
            cells.day,
            also=("离任日期", "终止日期", "end"),
            note=Label("最后一天；不填即仍在任", "The last day; empty: still held"),
        ),
        Column(
            "title",
            Label("称谓", "Title"),
            cells.words(60),
            width=20,
            also=("职务名称", "头衔"),
            note=Label("当地的叫法，如 驻村工作队队员", "What the person is called there"),
            is_free=True,
        ),
    ),
    {
        "zh": (("例：W0001", "网格员", "150221100201001", "2026-11-01", "", ""),),
        "en": (("e.g. W0001", "grid worker", "150221100201001", "2026-11-01", "", ""),),
    },
    also=("岗位", "任职情况", "post"),
)
HOUSEHOLDS = Sheet(
    "households",
    Label("农牧户", "Households"),
    (
        Column(
            "grid",
            Label("网格编码", "Grid code"),
            cells.code,
            True,
            width=20,
            also=("所在网格", "网格", "grid"),
        ),
        Column(
            "household_no",
            Label("户编号", "Household number"),
            cells.number,
            also=("户号", "household_no", "key"),
            note=Label(
                "全市唯一的编号；有则以此认户，迁居后仍认得",
                "Unique in the city; a household is known by it wherever it moves",
            ),
        ),
        Column(
            "village_no",
            Label("村内编号", "Number in the village"),
            cells.number,
            also=("序内号", "村内户号", "village_no"),
            note=Label("村内唯一的编号，可不填", "Unique in the village; may be empty"),
        ),
        Column(
            "head_name",
            Label("户主", "Head"),
            cells.words(60),
            True,
            "name",
            also=("户主姓名", "head of household", "head name"),
            is_free=True,
        ),
        Column(
            "phone",
            Label("电话", "Phone"),
            cells.phone,
            masked="phone",
            also=("手机", "手机号", "联系电话", "电话号码", "mobile"),
            note=_PHONE_NOTE,
            is_free=True,
        ),
        Column(
            "address",
            Label("住址", "Address"),
            cells.words(200),
            masked="address",
            width=30,
            also=("地址", "家庭住址", "详细地址"),
            is_free=True,
        ),
        Column(
            "members", Label("人口", "Members"), cells.people, also=("人口数", "家庭人口", "户人口")
        ),
        Column(
            "tags",
            Label("类别", "Tags"),
            cells.listed,
            masked="hidden",
            choices="tag",
            width=24,
            also=("户类别", "标签", "人群类别"),
            note=Label("多项用顿号隔开；“无”清空", "Several parted by commas; ‘none’ clears them"),
        ),
        Column(
            "contact_member",
            Label("联系党员工号", "Contact member"),
            cells.staff_code,
            width=20,
            also=("联系党员",),
        ),
        Column(
            "lead_member",
            Label("包联干部工号", "Lead member"),
            cells.staff_code,
            width=20,
            also=("包联干部", "包户干部"),
        ),
        Column(
            "note",
            Label("备注", "Note"),
            cells.words(4000),
            masked="hidden",
            width=30,
            also=("说明", "notes"),
            is_free=True,
        ),
        Column(
            "state",
            Label("在册状态", "State"),
            cells.listed,
            choices="household_state",
            also=("状态", "户状态"),
            note=Label("不填则不变；新户为在册", "Empty: as it is; a new household lives here"),
        ),
        Column(
            "state_since",
            Label("状态日期", "State since"),
            cells.day,
            also=("状态起始日",),
            note=Label("不填即导入当天", "Empty: the day of the import"),
        ),
        Column(
            "id",
            Label("系统编号", "Gridloop id"),
            cells.household_id,
            width=38,
            also=("系统标识", "gridloop_id"),
            note=Label(
                "导出时写入，以此认户，请勿改动；新户不填",
                "Written by an export, which finds the household by it; empty for a new one",
            ),
        ),
    ),
    {
        "zh": (
            (
                "例：150221100201001",
                "150221-0001",
                "",
                "李四",
                "0472-1234567",
                "1组5号",
                "4",
                "低保、独居老人",
                "",
                "",
                "",
                "在册",
                "",
                "",
            ),
        ),
        "en": (
            (
                "e.g. 150221100201001",
                "150221-0001",
                "",
                "Li Si",
                "0472-1234567",
                "Group 1, no. 5",
                "4",
                "low-income allowance, elderly living alone",
                "",
                "",
                "",
                "lives here",
                "",
                "",
            ),
        ),
    },
    also=("农户", "住户", "户", "农牧户信息", "household"),
)
# In the order in which they are applied: each may name what stands in those before.
SHEETS: Mapping[str, Sheet] = {
    sheet.name: sheet for sheet in (LEVELS, UNITS, PEOPLE, POSTS, HOUSEHOLDS)
}
# In the order in which they stand in a workbook.
IN_WORKBOOKS = (UNITS, PEOPLE, POSTS, HOUSEHOLDS, LEVELS)
# The sheet of a workbook that says how to fill in the others.
NOTES = Label("填写说明", "Notes")
# A row whose first cell begins like this is an example of the template.
EXAMPLE = ("例：", "例:", "e.g.")


def folded(text: str) -> str:
    """A header or a sheet's name for comparing: without white space, brackets and the like."""
    text = unicodedata.normalize("NFKC", text).lower()
    return re.sub(r"[（(【\[].*?[)）】\]]|[\s*_\-:：、.]", "", text)


def _names(header: Label, name: str, also: Sequence[str]) -> set[str]:
    return {folded(text) for text in (header.zh, header.en, name, *also)}


def _by_header(sheet: Sheet) -> dict[str, str]:
    found: dict[str, str] = {}
    # What a column is called first of all counts before what else another may be called.
    for column in sheet.columns:
        for text in (column.header.zh, column.header.en, column.name):
            found[folded(text)] = column.name
    for column in sheet.columns:
        for text in column.also:
            found.setdefault(folded(text), column.name)
    return found


HEADERS = {name: _by_header(sheet) for name, sheet in SHEETS.items()}
_SHEET_NAMES = {
    text: sheet.name
    for sheet in SHEETS.values()
    for text in _names(sheet.title, sheet.name, sheet.also)
}


class Layout(NamedTuple):
    """Which cells of a sheet's rows belong to which column: found in its header row.

    `columns`: the places of known columns by name; `titles`: the headers by place; `ignored`:
    headers of no known column; `twice`: headers that name one that another has named before.
    """

    sheet: str
    columns: Mapping[str, int]
    titles: Mapping[int, str]
    ignored: Sequence[str]
    twice: Sequence[str]

    @property
    def missing(self) -> list[Column]:
        """The columns that are needed, and are not there."""
        return [
            column
            for column in SHEETS[self.sheet].columns
            if column.required and column.name not in self.columns
        ]


def sheet_called(name: str) -> str | None:
    """Which sheet one of this name is: `农牧户2026` is one of households."""
    text = re.sub(r"\.(csv|xlsx?|txt)$", "", name.lower())
    text = re.sub(r"\d+", "", folded(text))
    if text in _SHEET_NAMES:
        return _SHEET_NAMES[text]
    inside = [known for known in _SHEET_NAMES if len(known) > 1 and known in text]
    return _SHEET_NAMES[max(inside, key=len)] if inside else None


def layout_of(cells_of_row: Sequence[Any], called: str | None) -> Layout | None:
    """The layout that a row of headers gives, of the sheet of a name or of whichever fits best;
    None if the row is none of headers.
    """
    texts = {
        place: str(cell).strip()
        for place, cell in enumerate(cells_of_row)
        if isinstance(cell, str) and cell.strip()
    }
    best: Layout | None = None
    for name in [called] if called is not None else SHEETS:
        known = HEADERS[name]
        columns: dict[str, int] = {}
        ignored, twice = [], []
        for place, text in texts.items():
            column = known.get(folded(text))
            if column is None:
                ignored.append(text)
            elif column in columns:
                twice.append(text)
            else:
                columns[column] = place
        layout = Layout(name, columns, texts, ignored, twice)
        if len(columns) < 2 or len(columns) * 2 < len(layout.missing):
            continue
        if best is None or _fit(layout) > _fit(best):
            best = layout
    return best


def _fit(layout: Layout) -> tuple[int, int]:
    return -len(layout.missing), len(layout.columns) - len(layout.ignored)
