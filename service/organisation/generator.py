"""The roster of Baotou: units down to villages from the national statistics codes, and a made-up
rest by a rule that gives the same people on every machine. Pure; edition 2023-06-30, see
`data/README.md`.
"""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

GRIDS = 3202
PARTY_GRIDS = 1656
GRID_WORKERS = 4259
VILLAGE_CADRES = 3306

_SURNAMES = "王李张刘陈杨赵黄周吴徐孙马朱胡郭何高林郑白乔云包"
_GIVEN = (
    "志强",
    "秀英",
    "建国",
    "玉兰",
    "永胜",
    "桂花",
    "海龙",
    "丽娟",
    "福生",
    "翠平",
    "文明",
    "淑珍",
    "俊杰",
    "美玲",
    "宝山",
    "春梅",
)
_MONGOLIAN = (
    "巴图",
    "苏和",
    "其其格",
    "那日苏",
    "乌兰",
    "娜仁",
    "斯琴",
    "朝鲁",
    "格日勒",
    "萨仁",
    "哈斯",
    "阿木尔",
    "孟和",
    "托娅",
)
_TAGS = (
    "elderly_alone",
    "low_income",
    "five_guarantee",
    "monitored",
    "disabled",
    "veteran",
    "left_behind",
)


class UnitRow(NamedTuple):
    """A unit as it is loaded."""

    code: str
    level: str
    parent: str | None
    name: str
    kind: str
    party_group: str


class CadreRow(NamedTuple):
    """A cadre with the one post that the roster gives."""

    staff_code: str
    name: str
    phone: str
    party_member: bool
    role: str
    unit: str


class Roster(NamedTuple):
    """All units and cadres, in a fixed order."""

    units: list[UnitRow]
    cadres: list[CadreRow]

    @property
    def grids(self) -> list[str]:
        """The grid codes in order."""
        return [unit.code for unit in self.units if unit.level == "grid"]


def _hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16)


def person(key: str) -> str:
    """An invented name, always the same for a key."""
    number = _hash("name:" + key)
    if number % 3 == 0:
        return _MONGOLIAN[number // 3 % len(_MONGOLIAN)]
    return _SURNAMES[number % len(_SURNAMES)] + _GIVEN[number // 97 % len(_GIVEN)]


def phone(key: str) -> str:
    """An invented phone number with the unassigned prefix 100, so that nobody's is among them."""
    return f"100{_hash('phone:' + key) % 100_000_000:08d}"


def spread(total: int, weights: Mapping[str, int]) -> dict[str, int]:
    """Shares `total` by largest remainder on the weights, ties by key."""
    whole = sum(weights.values())
    shares = {key: total * weight // whole for key, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda key: (-(total * weights[key] % whole), key))
    for key in by_remainder[: total - sum(shares.values())]:
        shares[key] += 1
    return shares


def divisions() -> list[dict[str, str]]:
    """The rows of the packaged roster: code, name, level, parent_code, kind."""
    with (
        files("service.organisation")
        .joinpath("data/baotou_divisions.csv")
        .open(encoding="utf-8") as file
    ):
        return list(csv.DictReader(file))


def roster() -> Roster:
    """The whole roster."""
    rows = divisions()
    units = [
        UnitRow(
            row["code"], row["level"], row["parent_code"] or None, row["name"], row["kind"], "none"
        )
        for row in rows
    ]
    villages = {row["code"]: row["name"] for row in rows if row["level"] == "village"}
    weights = {
        code: 1 + int(hashlib.sha256(code.encode()).hexdigest()[:8], 16) % 10 for code in villages
    }
    extra = spread(GRIDS - len(villages), weights)
    grids = {
        code: [f"{code}{number:03d}" for number in range(1, 2 + extra[code])] for code in villages
    }
    every = [grid for some in grids.values() for grid in some]
    firsts = {some[0] for some in grids.values()}
    others = sorted(
        (grid for grid in every if grid not in firsts), key=lambda grid: _salted("party", grid)
    )
    with_party = firsts | set(others[: PARTY_GRIDS - len(firsts)])
    for village, some in grids.items():
        for number, grid in enumerate(some, 1):
            party = "none" if grid not in with_party else "branch" if grid in firsts else "group"
            units.append(
                UnitRow(
                    grid, "grid", village, f"{villages[village]}第{number}网格", "村民小组", party
                )
            )
    return Roster(units, [*_workers(every), *_village_cadres(grids), *_supervisors(rows)])


def _salted(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode()).hexdigest()


def _workers(grids: list[str]) -> Iterator[CadreRow]:
    second = set(
        sorted(grids, key=lambda grid: _salted("worker", grid))[: GRID_WORKERS - len(grids)]
    )
    for grid in grids:
        for number in (1, 2) if grid in second else (1,):
            yield _cadre(
                f"W{grid}-{number}",
                "grid_worker",
                grid,
                _hash("member:" + grid + str(number)) % 3 == 0,
            )


def _village_cadres(grids: Mapping[str, list[str]]) -> Iterator[CadreRow]:
    """A secretary, at least one supervisory member, the rest committee members, by number of
    grids.
    """
    rest = spread(
        VILLAGE_CADRES - 2 * len(grids), {village: len(some) for village, some in grids.items()}
    )
    for village in grids:
        roles = ["village_secretary", "village_supervisor"] + ["village_committee"] * rest[village]
        for number, role in enumerate(roles, 1):
            code = f"C{village}-{number}"
            yield _cadre(code, role, village, number == 1 or _hash("member:" + code) % 5 < 3)


def _supervisors(rows: list[dict[str, str]]) -> Iterator[CadreRow]:
    for row in rows:
        if row["level"] != "village":
            yield _cadre(f"S{row['code']}", "supervisor", row["code"], True)
    yield CadreRow("admin", "系统管理员", "", False, "admin", rows[0]["code"])


def _cadre(staff_code: str, role: str, unit: str, party_member: bool) -> CadreRow:
    return CadreRow(staff_code, person(staff_code), phone(staff_code), party_member, role, unit)


def household_fields(grid: str, number: int, cadres: list[str]) -> dict[str, object]:
    """The fields of household `number` (from 1) of a grid; `cadres` are the village's, to contract
    it to one.
    """
    key = f"{grid}:{number}"
    luck = _hash("household:" + key)
    fields: dict[str, object] = {
        "head_name": person("head:" + key),
        "phone": phone("head:" + key),
        "address": f"{int(grid[-3:])}组{number}号",
        "members": 1 + luck % 6,
    }
    if luck % 7 == 0:
        fields["tags"] = {"add": [_TAGS[luck // 7 % len(_TAGS)]]}
    if cadres:
        fields["lead_member"] = cadres[luck // 11 % len(cadres)]
    return fields
