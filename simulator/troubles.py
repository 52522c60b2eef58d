"""Faults of the database in a simulated history: connections lost about COMMIT, stalls, and writes
over REST that meet them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulator.database_proxy import CUT, Moment, fatal
from simulator.devices import GRIDS, SECRETARY, SimDevice
from simulator.history import check
from simulator.places import PASSWORD

if TYPE_CHECKING:
    from simulator.simulation import Simulation

# Names of the faults that a history may be told to live without.
STALLS, LOST_CONNECTIONS, TWO_SERVERS = "stalls", "lost connections", "two servers"
ALL = frozenset({STALLS, LOST_CONNECTIONS, TWO_SERVERS})

_SAID = (CUT, fatal("57P01"))
_LOCKS = (
    f"SELECT FROM counter WHERE grid IN ({', '.join(map(repr, GRIDS))})"
    " ORDER BY grid FOR UPDATE",  # before anything is read
    "LOCK TABLE mutation IN ACCESS EXCLUSIVE"
    " MODE",  # when the grids are locked, and the rest is being written
)
_ENDS = ("limit", "canceled", "ended")
_TRIES = 3
NOTHING, UNKNOWN = "Nothing was changed", "It is not known whether this was kept"


@dataclass
class Asked:
    """A problem that somebody wanted to raise over REST, by its title, and what the answers said of
    it.

    `told`: `made`, `nothing` or `unknown`; `lost`: the server has been restored from a backup that
    is older.
    """

    title: str
    told: str = "nothing"
    id: str = ""
    lost: bool = False


async def lose_connection(sim: "Simulation", device: SimDevice) -> None:
    """The connection to the database is lost about a push's COMMIT; the phone is told what is
    known, and sends again or gives up.
    """
    moment, said = sim.rng.choice(tuple(Moment)), sim.rng.choice(_SAID)
    if LOST_CONNECTIONS in sim.faults:
        sim.servers.lose_connection(moment, said)
    await sim.push(device)
    if sim.servers.keep_connections() and LOST_CONNECTIONS in sim.faults:
        sim.counts[f"connection lost {moment.value}, push"] += 1


async def stall(sim: "Simulation", device: SimDevice) -> None:
    """What a push needs is locked by somebody else, until a limit ends its wait."""
    lock, ends, early = _a_stall(sim)
    if STALLS in sim.faults:
        sim.counts[f"stall: {ends}"] += 1
        await sim.servers.stall(lock, ends, early)
    try:
        await sim.push(device)
    finally:
        await sim.servers.end_stall()


def _a_stall(sim: "Simulation") -> tuple[str, str, bool]:
    return sim.rng.choice(_LOCKS), sim.rng.choice(_ENDS), sim.rng.random() < 0.6


async def raise_problem(sim: "Simulation", device: SimDevice) -> None:
    """An app raises a problem over REST with an Idempotency-Key, while the database may fail, and
    does what its answers say: after "nothing was changed" it is free to take another key, after
    "not known" it never is.
    """
    rng = sim.rng
    form = {"grant_type": "password", "username": SECRETARY, "password": PASSWORD}
    token = (await sim.client.post("/v1/auth/token", data=form)).json()["access_token"]
    moment, said, (lock, ends, early) = (
        rng.choice((None, *Moment, *Moment)),
        rng.choice(_SAID),
        _a_stall(sim),
    )
    asked = Asked(sim.word())
    sim.asked.append(asked)
    body = {"grid": rng.choice(GRIDS), "fields": {"title": asked.title, "duty": "emergency"}}
    key = f"{rng.getrandbits(64):x}"

    async def send() -> Any:
        headers = {
            "Authorization": f"Bearer {token}",
            "Idempotency-Key": key,
            "Accept-Language": "en",
        }
        return await sim.client.post("/v1/problems", json=body, headers=headers)

    if moment is not None and LOST_CONNECTIONS in sim.faults:
        sim.servers.lose_connection(moment, said)
    elif moment is None and STALLS in sim.faults:
        await sim.servers.stall(lock, ends, early)
    try:
        for _ in range(_TRIES):
            takes_another, gives_up, another = (
                rng.random() < 0.5,
                rng.random() < 0.2,
                f"{rng.getrandbits(64):x}",
            )
            answer = await send()
            if answer.status_code == 201:
                asked.told, asked.id = "made", answer.json()["id"]
                break
            check(
                answer.status_code == 503 and "Retry-After" in answer.headers,
                f"a problem was answered {answer.text}",
            )
            detail = answer.json()["detail"]
            check(
                (NOTHING in detail) != (UNKNOWN in detail),
                f"an answer says nothing of what was kept: {detail}",
            )
            if UNKNOWN in detail:
                asked.told = "unknown"
            elif asked.told == "nothing" and takes_another:
                key = another
            if gives_up:
                break
    finally:
        await sim.servers.end_stall()
        if sim.servers.keep_connections() and moment is not None and LOST_CONNECTIONS in sim.faults:
            sim.counts[f"connection lost {moment.value}, REST"] += 1
    if rng.random() < 0.5 and asked.told == "made":
        again = await send()
        check(
            again.status_code == 201 and again.json()["id"] == asked.id,
            f"a key was answered anew: {again.text}",
        )
    sim.counts[f"REST: {asked.told}"] += 1
    sim.note(
        f"a problem {asked.title} over REST, the database failing"
        f" {moment.value if moment else ends}: {asked.told}"
    )


def check_asked(asked: Iterable[Asked], log: Iterable[Mapping[str, Any]], title_of: Any) -> None:
    """What was raised over REST was made once if that was answered, not at all if the answer said
    so, and never twice.
    """
    made: dict[str, set[str]] = defaultdict(set)
    for row in log:
        if row["kind"] == "problem" and row["rev"] is not None:
            made[title_of(row)].add(str(row["id"]))
    for one in asked:
        count = len(made[one.title])
        check(count <= 1, f"REST: {one.title} was made {count} times")
        if not one.lost:
            check(
                count == 1 or one.told != "made",
                f"REST: {one.title} was answered, and is not there",
            )
            check(
                count == 0 or one.told != "nothing",
                f"REST: nothing was changed, it was said, but {one.title} is there",
            )
