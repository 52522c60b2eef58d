"""The sheets of a roster's workbook and their columns: the one declaration that the template, the
reading and the export use.
"""

from collections.abc import Mapping

from service.imports import cells
from service.imports.household_columns import HOUSEHOLDS
from service.imports.sheets import PHONE_NOTE, Column, Sheet
from sync_protocol import vocabulary
from sync_protocol.vocabulary import Label

_STAFF = Label("工号", "Staff code")
_UNIT_CODE = Label("单位编码", "Unit code")
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
            note=PHONE_NOTE,
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
# In the order in which they are applied: each may name what stands in those before.
SHEETS: Mapping[str, Sheet] = {
    sheet.name: sheet for sheet in (LEVELS, UNITS, PEOPLE, POSTS, HOUSEHOLDS)
}
# In the order in which they stand in a workbook.
IN_WORKBOOKS = (UNITS, PEOPLE, POSTS, HOUSEHOLDS, LEVELS)
# The sheet of a workbook that says how to fill in the others.
NOTES = Label("填写说明", "Notes")
