"""Routes that will go, and when: announced in the headers of each of their answers (RFC 9745, RFC
8594) and in the OpenAPI document.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, NamedTuple


class Deprecated(NamedTuple):
    """Since when a route is deprecated, when it goes, and the path of what takes its place."""

    since: datetime
    sunset: datetime
    successor: str


# operation id -> what is announced. None at present; a route is entered here at least half a year
# before it goes.
DEPRECATED: Mapping[str, Deprecated] = {}


def deprecation_headers(route: Any) -> dict[str, str]:
    """The headers of a route's answers; none for one that stays."""
    found = DEPRECATED.get(getattr(route, "operation_id", None) or "")
    if found is None:
        return {}
    return {
        "Deprecation": f"@{int(found.since.timestamp())}",
        "Sunset": format_datetime(found.sunset.astimezone(UTC), usegmt=True),
        "Link": f'<{found.successor}>; rel="successor-version"',
    }
