"""The mutation log of a made-up year: what the phones of that year would have handed in, with their
devices, lines and blocks.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from service.kit.database import Connection
from service.kit.field_cipher import FieldCipher
from service.writes.log_blocks import Block
from service.writes.log_queries import COLUMNS, applied
from service.writes.prepared import Author
from sync_protocol.clock import make_stamp
from sync_protocol.messages import Mutation
from sync_protocol.periods import from_ms

_DEVICE_COLUMNS = (
    "id",
    "staff_code",
    "name",
    "platform",
    "app_version",
    "acked_seq",
    "last_stamp",
    "queued",
    "clock_offset_ms",
    "created_at",
    "last_seen",
)


class Phone(msgspec.Struct):
    """A device and how far it has come. Unix ms."""

    device: str
    author: Author
    seq: int = 0
    stamp: str = ""
    first_ms: int = 0
    last_ms: int = 0


class New(msgspec.Struct):
    """A record that a phone made: `ms` is when, by its clock; `fields` as they are sent; `rev` the
    revision that it took.
    """

    kind: str
    id: str
    grid: str
    ms: int
    fields: dict[str, Any]
    rev: int


class Log:
    """Collects what phones hand in, until it is written.

    Each cadre has a phone for each kind of work (`what`), so that the numbers of each rise with the
    time, as those of a real one do. Nothing arrives after `end_ms`.
    """

    def __init__(self, cipher: FieldCipher, end_ms: int) -> None:
        self.written = 0
        self._cipher = cipher
        self._end_ms = end_ms
        self._phones: dict[tuple[str, str], Phone] = {}
        self._lines: list[str] = []
        self._blocks: list[Block] = []

    def phone(self, what: str, staff_code: str) -> Phone:
        """A cadre's phone."""
        known = self._phones.get((what, staff_code))
        if known is None:
            device = str(
                uuid.UUID(
                    bytes=blake2b(f"{what} {staff_code}".encode(), digest_size=16).digest(),
                    version=4,
                )
            )
            self._phones[what, staff_code] = known = Phone(device, Author(device, staff_code, []))
        return known

    def arrival(self, phone: Phone, ms: int) -> datetime:
        """When a push arrives that a phone sends then: after all that it handed in before."""
        phone.last_ms = min(max(ms, phone.last_ms + 1), self._end_ms)
        phone.first_ms = phone.first_ms or phone.last_ms
        return from_ms(phone.last_ms)

    def push(self, phone: Phone, records: Sequence[New], at: datetime) -> list[tuple[int, int]]:
        """Takes in what a phone hands in at a moment, in the order in which it was made; the seq
        and stamp of each.
        """
        mutations, numbers = [], []
        for seq, record in enumerate(records, phone.seq + 1):
            # A clock that has not moved on counts.
            phone.stamp = max(
                make_stamp(record.ms), _stamp_after(phone.stamp) if phone.stamp else ""
            )
            numbers.append(int(phone.stamp, 16))
            mutations.append(
                Mutation(
                    seq, record.kind, record.id, record.grid, "put", 0, phone.stamp, record.fields
                )
            )
        phone.seq += len(records)
        lines, blocks = applied(
            phone.author, mutations, numbers, [record.rev for record in records], at, self._cipher
        )
        self._lines += lines
        self._blocks += blocks
        return [(mutation.seq, number) for mutation, number in zip(mutations, numbers, strict=True)]

    async def write(self, connection: Connection) -> None:
        """Writes what was collected."""
        self.written += len(self._lines)
        if self._lines:
            lines = ("\n".join(self._lines) + "\n").encode()

            async def source() -> Any:
                yield lines

            await connection.copy_to_table(
                "mutation", columns=COLUMNS, source=source(), format="text", timeout=None
            )
            await connection.copy_records_to_table(
                "mutation_body", columns=Block._fields, records=self._blocks, timeout=None
            )
        self._lines, self._blocks = [], []

    async def register(self, connection: Connection) -> None:
        """Writes the devices, at the end."""
        rows = []
        for (_, code), phone in self._phones.items():
            first, last = from_ms(phone.first_ms), from_ms(phone.last_ms)
            rows.append(
                (
                    phone.device,
                    code,
                    "",
                    "android",
                    "made-up",
                    phone.seq,
                    int(phone.stamp, 16),
                    0,
                    0,
                    first,
                    last,
                )
            )
        await connection.copy_records_to_table(
            "device", columns=_DEVICE_COLUMNS, records=rows, timeout=None
        )


def _stamp_after(stamp: str) -> str:
    """The next stamp of a clock that stands still."""
    return f"{int(stamp, 16) + 1:016x}"
