"""Workbooks and text files for tests of imports."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import xlsxwriter

Rows = Sequence[Sequence[Any]]


def book(sheets: Mapping[str, Rows]) -> bytes:
    """A workbook of these sheets, with rows as they are given: numbers as numbers."""
    file = io.BytesIO()
    made = xlsxwriter.Workbook(file, {"strings_to_formulas": False, "strings_to_urls": False})
    for name, rows in sheets.items():
        sheet = made.add_worksheet(name)
        for place, row in enumerate(rows):
            sheet.write_row(place, 0, row)
    made.close()
    return file.getvalue()


def text_file(rows: Rows, encoding: str = "utf-8", mark: str = ",") -> bytes:
    """A text file."""
    return "\r\n".join(mark.join(map(str, row)) for row in rows).encode(encoding)


UNITS = ("单位编码", "名称", "级别", "上级编码", "蒙古文名称", "类型", "党组织")
PEOPLE = ("工号", "姓名", "电话", "党员")
POSTS = ("工号", "职务", "单位编码", "开始日期", "结束日期")
HOUSEHOLDS = ("网格编码", "户编号", "户主", "电话", "住址", "人口", "类别", "包联干部工号")

CITY, BANNER, TOWNSHIP, VILLAGE = "1599", "159921", "159921100", "159921100201"
GRID, OTHER_GRID = VILLAGE + "001", VILLAGE + "002"


def small() -> dict[str, Rows]:
    """A city of one village with two grids and three households."""
    return {
        "单位": [
            UNITS,
            [CITY, "某市", "", "", "", "市", ""],
            [BANNER, "某旗", "", "", "", "旗", ""],
            [TOWNSHIP, "某镇", "", "", "", "镇", ""],
            [VILLAGE, "某村", "", "", "", "村", ""],
            [GRID, "第1网格", "网格", VILLAGE, "", "", "党小组"],
            [int(OTHER_GRID), "第2网格", "", "", "", "", ""],
        ],
        "人员": [
            PEOPLE,
            ["W1", "王建国", "138-0000-0001", "是"],
            ["W2", "李秀英", 13800000002.0, "否"],
            ["S1", "乌兰", "", "是"],
            ["A1", "管理", "", "是"],
        ],
        "任职": [
            POSTS,
            ["W1", "网格员", GRID, "2020-01-01", ""],
            ["W2", "网格员", OTHER_GRID, 43831, ""],
            ["S1", "嘎查村党组织书记", VILLAGE, "2020/1/1", ""],
            ["A1", "系统管理员", CITY, "2020年1月1日", ""],
        ],
        "农牧户": [
            HOUSEHOLDS,
            [GRID, "H1", "张三", "０４７２－１２３４５６７", "1组1号", 4, "低保、独居老人", "S1"],
            [GRID, "H2", "赵四", 13900000001.0, "1组2号", "3人", "", ""],
            [OTHER_GRID, "", "孟和", "", "2组1号", "", "", ""],
        ],
    }
