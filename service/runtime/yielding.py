"""Lets other requests of the process run while one with many mutations is worked on, which else
would keep all of them waiting.
"""

import asyncio

# Mutations between two turns of others: some two milliseconds of work.
EVERY = 200


async def let_others_run(mutations: int) -> None:
    """Gives others a turn, if what comes next, or came before, is much."""
    if mutations > EVERY:
        await asyncio.sleep(0)
