"""What stands against a check of a visit: it is made by somebody else than the visitor. Pure."""

from collections.abc import Callable, Mapping

from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from sync_protocol.records import VISIT
from sync_protocol.texts import Text


def against_check(
    item: PreparedMutation,
    where: Callable[[str, str], str | None],
    visitors: Mapping[str, str],
) -> HoldReason | None:
    """A new check of a visit that is here. `visitors`: who made the visits that were here before
    this call of the write path.
    """
    visit = str(item.fields["visit_id"])
    home = where(VISIT.name, visit)
    if home != item.mutation.grid:
        detail = Text("The visit lies in grid {grid}; send its check in that grid.", grid=home)
        return HoldReason("grid-mismatch", detail)
    visitor = visitors.get(visit)
    if visitor is None:
        # It comes in this very moment, and so does what waits for it.
        detail = Text("The visit {id} is not here yet; it comes with others.", id=visit)
        return HoldReason("reference-missing", detail, visit, VISIT.name)
    if visitor == (item.created_by or item.author.staff_code):
        return HoldReason(
            "not-allowed",
            Text(
                "{cadre} made this visit; somebody else checks it, such as the supervisory member"
                " of the village.",
                cadre=visitor,
            ),
        )
    return None
