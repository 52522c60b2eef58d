"""When which posts of an author allow writing."""

from collections.abc import Sequence
from datetime import datetime

from service.identity.rights import PostHeld, Validity, writing_posts
from service.writes.prepared import Author

_CONTACT_MEMBER = "contact_member"


def by_ties_alone(posts: Sequence[PostHeld]) -> bool:
    """Whether none of the posts allows more than what is tied to a contact member."""
    return all(post.role == _CONTACT_MEMBER for post in posts)


class Validities:
    """When which posts of an author allow writing a kind in a grid, as seen at `now`; found once
    for each.
    """

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._known: dict[tuple[int, str, str], list[Validity]] = {}
        self._plain: dict[tuple[int, str, str], list[tuple[str, str]]] = {}

    def of(self, author: Author, kind: str, grid: str) -> list[Validity]:
        """The stamps from which (included) and to which (excluded) each post allows it."""
        key = (id(author), kind, grid)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = writing_posts(author.posts, kind, grid)
        return found

    def plainly(self, author: Author, kind: str, grid: str, first: str, last: str) -> bool:
        """Whether one post that has not ended allowed it at all stamps from `first` to `last`, and
        asks for no tie: then nothing else of the posts matters.
        """
        key = (id(author), kind, grid)
        spells = self._plain.get(key)
        if spells is None:
            spells = self._plain[key] = [
                (begins, ends)
                for begins, ends, post in self.of(author, kind, grid)
                if (post.valid_to is None or post.valid_to > self._now)
                and post.role != _CONTACT_MEMBER
            ]
        for begins, ends in spells:  # noqa: SIM110 - asked several times for every mutation, and a generator costs twice as much
            if begins <= first and last < ends:
                return True
        return False

    def at(self, author: Author, kind: str, grid: str, stamp: str) -> list[PostHeld]:
        """The posts that allowed it at a stamp."""
        return [
            post for begins, ends, post in self.of(author, kind, grid) if begins <= stamp < ends
        ]
