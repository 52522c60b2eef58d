"""The ledger of indicators 指标台账: what each unit has reported, and who has not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.indicators.values import OfUnit
from service.ledgers.sheet import Column
from service.vocabulary.indicators import Indicator

COLUMNS = (
    Column("指标", 28),
    Column("计量单位", 10),
    Column("单位", 18),
    Column("目标", 14, "number"),
    Column("完成", 14, "number"),
    Column("完成率", 10, "percent"),
    Column("数据来源", 24),
    Column("填报人", 12),
    Column("填报时间", 16, "moment"),
    Column("备注", 20),
)


def lines(some: Sequence[OfUnit], unit_name: str) -> Iterator[Sequence[Any]]:
    """For each indicator what the unit comes to, and then every unit that reports it."""
    for of_unit in some:
        one = of_unit.indicator
        whole = of_unit.part(of_unit.codes)
        left = whole["units"] - whole["reported"]
        remark = f"未报 {left} 个单位" if left else None
        if one.aggregate != "none":
            yield _line(one, f"{unit_name}（合计）", whole, {}, remark)
        items = {item.unit.code: item for item in of_unit.items()}
        for unit in of_unit.units:
            item = items.get(unit["code"])
            if item is None:
                target = of_unit.targets[unit["code"]]
                nothing = {"target": target, "value": None, "progress": None}
                yield _line(one, unit["name"], nothing, {}, "未报")
            else:
                values = item.model_dump()
                yield _line(one, unit["name"], values, values, item.note)


def _line(
    one: Indicator,
    name: str,
    numbers: Mapping[str, Any],
    said: Mapping[str, Any],
    remark: str | None,
) -> Sequence[Any]:
    return (
        one.name_zh,
        one.measure,
        name,
        numbers["target"],
        numbers["value"],
        numbers["progress"],
        said.get("source"),
        said.get("name"),
        said.get("received_at"),
        remark,
    )
