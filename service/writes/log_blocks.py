"""Blocks of the mutation log: the bodies of mutations of a device that came in together, compressed
and encrypted as one.

A block for all that a device hands in at once costs a third of a value for each body, and the
database writes less than it did for plain text.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from isal import isal_zlib

from service.kit.encrypted_values import log_row
from service.kit.encryption import Place
from service.kit.field_cipher import FieldCipher
from sync_protocol.records import VISIT

# A block has at most so many bytes of bodies, and one body at least: to show one mutation a whole
# block is decrypted.
_BLOCK_BYTES = 128 * 1024
_LEVEL = 1
_LOCATION = b'"location":{'
_OF_VISIT = f'"kind":"{VISIT.name}"'.encode()


class Block(NamedTuple):
    """A row of `mutation_body`."""

    device: str
    received_at: datetime
    first_seq: int
    last_seq: int
    located: bool
    body: bytes


def may_be_located(content: bytes) -> bool:
    """Whether the body of a mutation of a visit may hold a location."""
    return _LOCATION in content and _OF_VISIT in content


def _place(device: str, received_at: datetime, first_seq: int) -> Place:
    return Place("mutation_body", "body", log_row(device, first_seq, received_at))


def blocks_of(
    device: str,
    received_at: datetime,
    bodies: Sequence[tuple[int, bytes]],
    located: bool,
    cipher: FieldCipher,
) -> list[Block]:
    """Bodies of a device by seq, as blocks."""
    blocks = []
    lines: list[bytes] = []
    first = last = size = 0
    for seq, content in sorted(bodies):
        if lines and size + len(content) > _BLOCK_BYTES:
            blocks.append(_block(device, received_at, first, last, located, lines, cipher))
            lines, size = [], 0
        first = seq if not lines else first
        last, size = seq, size + len(content)
        lines.append(b"%d %s" % (seq, content))
    if lines:
        blocks.append(_block(device, received_at, first, last, located, lines, cipher))
    return blocks


def _block(
    device: str,
    received_at: datetime,
    first: int,
    last: int,
    located: bool,
    lines: Sequence[bytes],
    cipher: FieldCipher,
) -> Block:
    packed = isal_zlib.compress(b"\n".join(lines), _LEVEL)
    body = cipher.encrypt_bytes(_place(device, received_at, first), packed)
    return Block(device, received_at, first, last, located, body)


def bodies_in(block: Any, cipher: FieldCipher) -> dict[int, bytes] | None:
    """The bodies in a block by seq; None when it cannot be decrypted."""
    packed = cipher.decrypt_bytes(
        _place(str(block["device"]), block["received_at"], block["first_seq"]), block["body"]
    )
    if packed is None:
        return None
    lines = (line.partition(b" ") for line in isal_zlib.decompress(packed).split(b"\n"))
    return {int(seq): content for seq, _, content in lines}


Change = Callable[[int, bytes], bytes | None]


def rewritten(block: Any, change: Change, cipher: FieldCipher) -> tuple[Block, list[int]] | None:
    """A block with other bodies, and the seqs of those; `change` gets seq and body, and gives None
    for one that stays.

    None when the block cannot be decrypted. The digests of what is changed stay, so that a repeated
    one is still known.
    """
    bodies = bodies_in(block, cipher)
    if bodies is None:
        return None
    changed = {
        seq: body for seq, content in bodies.items() if (body := change(seq, content)) is not None
    }
    return _with(block, bodies | changed, cipher), [*changed]


def _with(block: Any, bodies: dict[int, bytes], cipher: FieldCipher) -> Block:
    lines = [b"%d %s" % item for item in sorted(bodies.items())]
    located = any(map(may_be_located, bodies.values()))
    first, last = block["first_seq"], block["last_seq"]
    return _block(str(block["device"]), block["received_at"], first, last, located, lines, cipher)
