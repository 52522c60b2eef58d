"""The cursor: how far a device has pulled, opaque to it and signed by the server.

It holds the epoch, the device, the acknowledged seq, the moment since which the device knows the
epoch, and a position per grid. It never holds the scope: that comes from the posts. A cursor that
does not verify is treated as none.
"""

import base64
import binascii
import hmac
import zlib
from typing import NamedTuple

import msgspec

_FORMAT = b"\x01"
_FORMAT_DEFLATED = b"\x02"
_MAC_BYTES = 16
_DEFLATE_ABOVE = 512
_MAX_INFLATED = 4 * 1024 * 1024


class Position(NamedTuple):
    """How far a grid was sent: all up to `rev`.

    `snapshot` is the head at which a first pull began that is still under way, 0 for none; the
    windows apply up to it. Own mutations from `own_since` on were made when the device had the
    whole grid, so that those applied as sent need not be sent back (promise 14). `view` says what
    the device was shown of the grid; the server begins anew when that has changed.
    """

    rev: int
    snapshot: int
    own_since: int
    view: str = "f"


class Cursor(msgspec.Struct, array_like=True):
    """A decoded cursor. A device that shows it has taken in the answer in which its mutations up to
    `acked` were acknowledged.

    `staff_code` is its cadre's, and `registered_ms` when the device was registered (Unix ms): a
    server that was restored from a backup learns both from here. `timeline`: under which history of
    the database's log it was signed. Cursors of older servers hold none of these.
    """

    epoch: str
    device: str
    acked: int
    epoch_since_ms: int
    grids: dict[str, Position]
    staff_code: str = ""
    registered_ms: int = 0
    timeline: str = ""


_encoder = msgspec.msgpack.Encoder(order="deterministic")
_decoder = msgspec.msgpack.Decoder(Cursor)


def sign_cursor(cursor: Cursor, key: bytes) -> str:
    """The cursor as the text that a device keeps."""
    payload = _encoder.encode(cursor)
    payload = (
        _FORMAT_DEFLATED + zlib.compress(payload, 6)
        if len(payload) > _DEFLATE_ABOVE
        else _FORMAT + payload
    )
    return base64.urlsafe_b64encode(_mac(payload, key) + payload).rstrip(b"=").decode()


def read_cursor(text: str | None, key: bytes, device: str) -> Cursor | None:
    """The cursor in `text`; None when there is none, or it was not signed with `key`, or it is
    another device's.
    """
    cursor = verify_cursor(text, key)
    return cursor if cursor is not None and cursor.device == device else None


def verify_cursor(text: str | None, key: bytes) -> Cursor | None:
    """The cursor of any device in `text`; None when there is none, or it was not signed with
    `key`.
    """
    if not text:
        return None
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if not payload or not hmac.compare_digest(mac, _mac(payload, key)):
        return None
    try:
        body = payload[1:]
        if payload[:1] == _FORMAT_DEFLATED:
            body = zlib.decompressobj().decompress(body, _MAX_INFLATED)
        return _decoder.decode(body)
    except (msgspec.DecodeError, zlib.error):
        return None


def _mac(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, "sha256")[:_MAC_BYTES]
