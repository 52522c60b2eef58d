"""What a phone that starts as a new device proves of the device that it was before."""

from datetime import datetime

from service.kit.database import Connection
from service.writes import queries
from sync_protocol.cursor import verify_cursor
from sync_protocol.periods import from_ms


async def registered_at(
    connection: Connection, cursor_text: str, staff_code: str
) -> datetime | None:
    """When the device was registered that got this cursor as the cadre's; None if the cursor is not
    genuine, another cadre's, or from a server that did not tell."""
    key = bytes((await queries.server_state(connection))["cursor_key"])
    cursor = verify_cursor(cursor_text, key)
    if cursor is None or cursor.staff_code != staff_code or not cursor.registered_ms:
        return None
    return from_ms(cursor.registered_ms)
