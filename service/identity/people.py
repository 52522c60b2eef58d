"""Who a path names: by any staff code that a person has or had."""

from typing import Annotated

from fastapi import Depends, Path, Request

from service.identity import staff_codes
from service.identity.access import Signed
from service.kit.state import state_of


async def _key(
    request: Request,
    caller: Signed,
    staff_code: Annotated[
        str, Path(max_length=40, pattern=r"^[^\x00-\x1f]+$", examples=["W150221100201001-1"])
    ],
) -> str:
    async with state_of(request).database.reading() as connection:
        return await staff_codes.key_of(connection, staff_code)


# The `{staff_code}` of a path, as the code by which records name the person.
StaffCode = Annotated[str, Depends(_key)]
