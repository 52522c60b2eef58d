"""What stands against a tie between a cadre and a household: it gives a contact member sight of
personal data, so that nobody writes their own. Pure.
"""

from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from sync_protocol.kinds import Kind
from sync_protocol.record_state import Record
from sync_protocol.records import TIE
from sync_protocol.texts import Text


def against_tying(item: PreparedMutation, kind: Kind, record: Record | None) -> HoldReason | None:
    """A tie of its author, unless somebody else releases it. A move with the household changes
    nothing of it.
    """
    if kind is not TIE or (item.override and not item.fields):
        return None
    writer = item.decided_by or item.author.staff_code
    tied = {
        str(fields["cadre"])
        for fields in (item.fields, record.fields if record is not None else {})
        if fields.get("cadre")
    }
    if writer not in tied:
        return None
    return HoldReason(
        "not-allowed",
        Text(
            "To whom a household is tied is written by somebody else than {cadre}, to whom it"
            " is tied; another secretary of the village or an administrator may release it.",
            cadre=writer,
        ),
    )
