"""The digest by which a device proves its copy of a grid (promise 12)."""

import hashlib
import uuid
from collections.abc import Iterable


def copy_digest(records: Iterable[tuple[str, int]]) -> str:
    """16 hex digits: XOR of the first 8 bytes of sha256(id bytes + rev as 8 bytes big-endian) over
    `(id, rev)` pairs.

    The order of the pairs does not matter; no pairs give 16 zeros.
    """
    value = 0
    for record_id, rev in records:
        hashed = hashlib.sha256(uuid.UUID(record_id).bytes + rev.to_bytes(8, "big")).digest()
        value ^= int.from_bytes(hashed[:8], "big")
    return f"{value:016x}"
