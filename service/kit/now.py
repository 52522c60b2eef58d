"""The service's clock, apart: a command that only reads it loads no routes."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)
