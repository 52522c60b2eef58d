"""What stands against the author of a mutation: posts, registration and revocation, ties. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from service.identity.rights import may_settle
from service.kit.settings import Settings
from service.writes.mutations import HoldReason
from service.writes.prepared import PreparedMutation
from service.writes.validities import Validities, by_ties_alone
from service.writes.world import Evidence
from sync_protocol import clock
from sync_protocol.kinds import Kind
from sync_protocol.periods import in_minutes, to_ms
from sync_protocol.records import KINDS
from sync_protocol.texts import Text


def written_of(id: str, fields: Mapping[str, Any], kind: Kind) -> tuple[str, str]:
    """What a mutation is about: of a step its problem, else the record itself."""
    problem = fields.get("problem_id") if kind.name == "step" else None
    return ("problem", str(problem)) if problem else (kind.name, id)


class AuthorRules:
    """Judges by who has written, and when."""

    def __init__(
        self, now: datetime, settings: Settings, validities: Validities, evidence: Evidence
    ) -> None:
        self._now = now
        self._grace = timedelta(days=settings.late_days)
        self._oldest_days = settings.stamp_too_old_days
        self._validities = validities
        self._evidence = evidence

    def against_author(self, item: PreparedMutation, kind: Kind, grid: str) -> HoldReason | None:
        """By the posts that were valid when it was written, and by how late it comes (promise
        7).
        """
        author, decided = item.author, item.decider is not None
        if author.revoked_at is not None and item.moment >= author.revoked_at and not decided:
            return HoldReason(
                "device-revoked", Text("It was written after the device had been revoked.")
            )
        if item.override and may_settle(author.posts, grid, item.moment):
            return None
        posts = self._validities.at(author, kind.name, grid, item.judged_at)
        if not posts and not self.is_assigned(item, kind):
            detail = Text(
                "{cadre} had no post that may write a {kind} in {grid} at {when}.",
                cadre=author.staff_code,
                kind=kind.word,
                grid=grid,
                when=in_minutes(item.moment),
            )
            return HoldReason("not-allowed", detail)
        if decided:
            return None
        if item.judged_at < author.oldest_stamp:
            detail = Text(
                "It is stamped more than {days} days before its device was registered"
                " ({registered}); a person decides.",
                days=self._oldest_days,
                registered=in_minutes(author.registered_at) if author.registered_at else "",
            )
            return HoldReason("stamp-too-old", detail)
        ends = [] if author.revoked_at is None else [(author.revoked_at, author.revoked_at)]
        received = item.received_at or self._now
        if posts and all(post.valid_to is not None and post.valid_to <= received for post in posts):
            # The most lenient of them: whichever post allowed it is reason enough.
            ended = [(post.valid_to, post.end_recorded_at) for post in posts]
            ends.append(max((end, recorded or end) for end, recorded in ended if end is not None))
        if all(self._is_timely(item, end, recorded, received) for end, recorded in ends):
            return None
        detail = Text(
            "It was written before a post ended or the device was revoked, but came more than"
            " {days} days after,"
            " or from a device registered later, or out of the device's order; a person decides.",
            days=self._grace.days,
        )
        return HoldReason("late-after-post", detail)

    def against_ties(self, item: PreparedMutation, kind: Kind) -> HoldReason | None:
        """A contact member writes only of the tied households, and what is the own."""
        name = written_of(item.mutation.id, item.fields, kind)
        if self.is_near_contact(item, name) or item.override or item.decider is not None:
            return None
        posts = self._validities.at(item.author, kind.name, item.mutation.grid, item.judged_at)
        if not posts or not by_ties_alone(posts) or self.is_assigned(item, kind):
            return None
        detail = Text(
            "{cadre} is a contact member, and the {kind} {id} is about no household that is tied"
            " to them.",
            cadre=item.author.staff_code,
            kind=KINDS[name[0]].word,
            id=name[1],
        )
        return HoldReason("not-allowed", detail)

    def is_near_contact(self, item: PreparedMutation, name: tuple[str, str]) -> bool:
        """Whether a visit or problem is the author's own, about a household that was tied to them
        when the mutation was written, or new.
        """
        about = self._evidence.about.get(name)
        return about is None or about.includes(item.author.staff_code, item.moment)

    def _is_timely(
        self, item: PreparedMutation, end: datetime, recorded: datetime, received: datetime
    ) -> bool:
        """Whether what was stamped before an end may count without a person's decision: a clock is
        no proof."""
        author = item.author
        if received > max(end, recorded) + self._grace:
            return False
        if author.registered_at is not None and author.registered_at >= end:
            return False
        ms = clock.corrected_ms(
            clock.stamp_ms(item.mutation.stamp), author.offset_ms, to_ms(received)
        )
        return clock.make_stamp(ms, int(item.mutation.stamp[12:], 16)) >= author.last_stamp

    def is_assigned(self, item: PreparedMutation, kind: Kind) -> bool:
        """Whether a step's problem was assigned to its author, or to a unit of the author's posts,
        when the step was written."""
        problem = self._evidence.assigned.get(str(item.fields.get("problem_id")))
        if kind.name != "step" or problem is None:
            return False
        case = problem.case_before(item.judged_at, item.mutation.id)
        if not case.assigned or case.ended_at is not None:
            return False
        posts = [post for post in item.author.posts if post.valid_at(item.moment)]
        if not posts:
            return False
        return case.handler_cadre == item.author.staff_code or any(
            post.covers(case.handler_unit, item.moment) for post in posts
        )
