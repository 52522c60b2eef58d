"""What goes along when a household moves to another grid: the problems about it that have not
ended, with their steps, and its ties.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from service.identity.rights import PostHeld
from service.kit.database import Connection
from service.kit.sql import Cte
from service.organisation.tree import Tree
from service.writes import moving_queries, queries
from service.writes.interface import PreparedMutations
from service.writes.merged import HouseholdMove
from service.writes.mutations import parse_all
from service.writes.prepared import Author, prepare
from sync_protocol.clock import make_stamp
from sync_protocol.ids import server_device_id
from sync_protocol.messages import Mutation
from sync_protocol.periods import from_ms, to_ms


class Following(NamedTuple):
    """Mutations that move what goes along, and what acknowledges them."""

    mutations: PreparedMutations
    done: Cte


async def following(
    connection: Connection, moves: Mapping[str, HouseholdMove], now: datetime, tree: Tree
) -> list[Following]:
    """What has to follow these households, which have just moved; written by the server for who
    moved them. The grids' counters are locked.
    """
    former = {id: move.former for id, move in moves.items()}
    rows = await moving_queries.problems_left_behind(connection, former)
    ties = await moving_queries.ties_left_behind(connection, former)
    if not rows and not ties:
        return []
    steps: dict[str, list[tuple[str, int]]] = {}
    for row in await moving_queries.steps_with_revs(connection, [row["id"] for row in rows]):
        steps.setdefault(row["problem"], []).append((row["id"], row["rev"]))
    by_mover: dict[str, list[Mutation]] = {}
    for row in rows:
        move = moves[row["household"]]
        some = by_mover.setdefault(move.by, [])
        grid, former = move.to, row["grid"]
        some.append(
            Mutation(0, "problem", row["id"], grid, base=row["rev"], base_grid=former, fields={})
        )
        some += [
            Mutation(0, "step", id, grid, base=rev, base_grid=former, fields={})
            for id, rev in steps.get(row["id"], ())
        ]
    for row in ties:
        move = moves[row["household"]]
        by_mover.setdefault(move.by, []).append(
            Mutation(
                *(0, "tie", row["id"], move.to),
                base=row["rev"],
                base_grid=row["grid"],
                fields={},
            )
        )
    return [
        await _ready(connection, mover, mutations, now, tree)
        for mover, mutations in sorted(by_mover.items())
    ]


async def _ready(
    connection: Connection, mover: str, mutations: list[Mutation], now: datetime, tree: Tree
) -> Following:
    """Mutations of the device that the server keeps for the mover, under its next numbers."""
    device = server_device_id(mover)
    await queries.add_device(connection, device, mover, now)
    state = await queries.lock_device(connection, device)
    assert state is not None
    for seq, mutation in enumerate(mutations, state["acked_seq"] + 1):
        mutation.seq, mutation.stamp = seq, make_stamp(to_ms(now))
    everywhere = PostHeld("admin", "", from_ms(0), None, tree=tree)
    author = Author(device, mover, [everywhere], last_stamp=f"{state['last_stamp']:016x}")
    items = prepare(author, parse_all(mutations), now)
    for item in items:
        item.override = True
    done = queries.acknowledge(
        [queries.Acknowledged(device, mutations[-1].seq, items[-1].stamp, 0, 0)], now
    )
    return Following(PreparedMutations(items), done)
