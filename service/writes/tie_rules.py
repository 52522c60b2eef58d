"""What stands against writing to whom a household is tied: a tie gives a contact member sight of
personal data, so that who leads the village writes it, and nobody their own. Pure.
"""

from collections.abc import Iterator
from datetime import datetime

from service.identity.rights import TIES, may_settle
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities
from sync_protocol.kinds import Kind
from sync_protocol.record_state import Record
from sync_protocol.records import HOUSEHOLD, TIE
from sync_protocol.texts import Text


def against_tying(
    validities: Validities,
    item: PreparedMutation,
    kind: Kind,
    record: Record | None,
    now: datetime,
) -> HoldReason | None:
    """A tie, and the field `contact_member` where it names somebody else than before. A move with
    the household changes nothing of it.
    """
    if kind not in (TIE, HOUSEHOLD) or (item.override and not item.fields):
        return None
    tied = [*_tied_by(item, kind, record)]
    if not tied:
        return None
    author = item.author.staff_code
    if author in tied or item.decided_by in tied:
        return HoldReason(
            "not-allowed",
            Text(
                "To whom a household is tied is written by somebody else than {cadre}, to whom it"
                " is tied; another secretary of the village or an administrator may release it.",
                cadre=author if author in tied else item.decided_by or "",
            ),
        )
    if kind is TIE or item.override or _may_tie(validities, item, kind, now):
        return None
    return HoldReason(
        "not-allowed",
        Text(
            "contact_member ties a household to a party member, who then sees it; {cadre} may not"
            " write it. The secretary of the village or an administrator may release this.",
            cadre=author,
        ),
    )


def _tied_by(item: PreparedMutation, kind: Kind, record: Record | None) -> Iterator[str]:
    """The cadres whose ties a mutation makes or changes."""
    if kind is TIE:
        for fields in (item.fields, record.fields if record is not None else {}):
            if fields.get("cadre"):
                yield str(fields["cadre"])
    elif kind is HOUSEHOLD:
        wanted = item.fields.get("contact_member")
        before = None if record is None else record.fields.get("contact_member")
        if wanted and wanted != before:
            yield str(wanted)


def _may_tie(validities: Validities, item: PreparedMutation, kind: Kind, now: datetime) -> bool:
    """Whether its author may tie households there, or somebody has released it who decides."""
    grid = item.mutation.grid
    if any(
        post.role in TIES for post in validities.at(item.author, kind.name, grid, item.judged_at)
    ):
        return True
    return item.decider is not None and may_settle(item.decider, grid, now)
