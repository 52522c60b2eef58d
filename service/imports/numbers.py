"""The numbers by which offices know households: in the city, and in their village."""

from collections.abc import Collection
from typing import NamedTuple

from service.identity.access import Caller
from service.imports import keys, known_queries
from service.kit.database import Connection
from service.kit.field_cipher import FieldCipher


class Numbers(NamedTuple):
    """The numbers of a household; in the villages by village, for it may have moved."""

    household_no: str | None
    by_village: dict[str, str]

    def village_no(self, caller: Caller, grid: str) -> str | None:
        """Its number in the village in which a grid lies."""
        return next(
            (
                number
                for village, number in self.by_village.items()
                if caller.tree.covers(village, grid, caller.today)
            ),
            None,
        )


NONE = Numbers(None, {})


async def numbers_of(
    connection: Connection, cipher: FieldCipher, households: Collection[str]
) -> dict[str, Numbers]:
    """The numbers of those of these households that have any."""
    found: dict[str, Numbers] = {}
    for row in await known_queries.keys_of(connection, households):
        key = keys.opened(cipher, row)
        if key is None:
            continue
        own = found.setdefault(row.household, Numbers(None, {}))
        if key.number is not None and own.household_no is None:
            found[row.household] = own._replace(household_no=key.number)
        if key.village_number is not None:
            own.by_village.setdefault(key.scope, key.village_number)
    return found
