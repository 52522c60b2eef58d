"""What a phone's former device proves of when it was registered."""

from datetime import datetime

from service.database import Connection


async def registered_at(connection: Connection, cursor_text: str, staff_code: str) -> datetime | None:
    """When the device of a genuine cursor of this cadre was registered.

    A stub: cursors do not say yet when their device was registered, so that none proves anything.
    """
    return None
