"""The ledger of disputes 矛盾纠纷台账: its columns and rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.kit.encryption import Place
from service.kit.field_cipher import FieldCipher
from service.ledgers.sheet import Column
from sync_protocol.periods import local_day
from sync_protocol.vocabulary import SATISFIED, STATES, Label

COLUMNS = (
    Column("时间", 16, "moment"),
    Column("当事人", 24),
    Column("纠纷类型", 14),
    Column("简要情况", 40),
    Column("调解人", 14),
    Column("调解结果", 36),
    Column("回访", 18),
    Column("备注", 12),
)


class DisputeRows:
    """Rows of the ledger. `kinds`: what the kinds of disputes are called."""

    def __init__(self, cipher: FieldCipher, kinds: Mapping[str, Label]) -> None:
        self._cipher = cipher
        self._kinds = kinds

    def __call__(self, row: Any) -> Sequence[Any]:
        agreement = self._shown(row, "agreement") or row["measures"]
        state = STATES[row["state"]].zh
        kind = row["dispute_kind"]
        return (
            row["raised_at"],
            self._shown(row, "parties"),
            self._kinds[kind].zh if kind in self._kinds else kind,
            "：".join(text for text in (row["title"], row["detail"]) if text),
            row["mediator"] or row["handler"],
            "：".join(text for text in (state, agreement) if text),
            _second_visit(row),
            None,
        )

    def _shown(self, row: Any, name: str) -> str | None:
        place = Place("problem", name, row["id"])
        return row[name] and self._cipher.shown(place, row[name])


def _second_visit(row: Any) -> str | None:
    """The day of the second visit, and what was said of it."""
    day = row["second_visit_at"] and local_day(row["second_visit_at"]).isoformat()
    satisfied = SATISFIED[row["satisfied"]].zh if row["satisfied"] in SATISFIED else None
    return " ".join(text for text in (day, satisfied) if text) or None
