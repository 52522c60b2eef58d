"""What the tests of encryption share: reading everything there is over HTTP, scanning the whole
database, changing keys.
"""

import base64
import json
from collections.abc import Sequence
from math import inf
from typing import Any

from service.identity.tokens import Tokens
from service.kit.key_file import new_key, read_keys
from service.kit.keyring import Keyring
from simulator.places import SUPERVISOR
from tests.world import FAR_GRID, SECRETARY, WORKER, WirePhone, World

FAR_PHONE = "13911112222"
FAR_WORKER = f"W{FAR_GRID}-1"


async def everything_kept(world: World) -> str:
    """Every row of every table, as one text; bytes also as the text that they may be."""
    tables = await world.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    found = []
    for table in tables:
        for row in await world.fetch(f"SELECT t::text AS row, t.* FROM {table['tablename']} t"):
            found.append(row["row"])
            found += [value.decode("latin-1") for value in row.values() if isinstance(value, bytes)]
    return "\n".join(found)


def use_keys(world: World, *keys: bytes) -> Keyring:
    """From now on the service knows these master keys; it has read the key that signs tokens
    already.
    """
    keyring = Keyring(keys)
    world.state.settings.__dict__["keyring"] = keyring
    world.state.of(Tokens).reloaded_every_s = inf
    return keyring


def own_key(world: World) -> bytes:
    """The master key with which a test began."""
    settings = world.state.settings
    [key] = read_keys(settings.secret_keys, settings.secret_file or settings.data / "secret.key")
    return key


def another_key() -> bytes:
    """A new master key."""
    return base64.urlsafe_b64decode(new_key())


async def house_with(sender: WirePhone, seq: int = 1, /, **fields: Any) -> str:
    """A household that a phone makes."""
    house = sender.new_id()
    put = sender.mutation(seq, "household", id=house, fields={"head_name": "苏和", **fields})
    answer = (await sender.send(put)).json()
    assert answer["verdicts"][0]["outcome"] == "applied", answer
    return house


async def read_all(
    world: World, houses: Sequence[str], problems: Sequence[str] = ()
) -> dict[str, Any]:
    """Every list, page and feed of the village, by name; each must answer 200."""
    paths = [
        "/v1/households",
        "/v1/visits",
        "/v1/problems",
        "/v1/conflicts",
        "/v1/held",
        "/v1/cadres",
    ]
    paths += [f"/v1/households/{house}{more}" for house in houses for more in ("", "/export")]
    paths += [f"/v1/history/household/{house}" for house in houses]
    paths += [
        f"/v1/{what}"
        for problem in problems
        for what in (f"problems/{problem}", f"history/problem/{problem}")
    ]
    found: dict[str, Any] = {}
    for staff_code in (SECRETARY, SUPERVISOR):
        for path in paths:
            if path.endswith("/export") and staff_code == SUPERVISOR:
                continue
            response = await world.get(path, staff_code)
            assert response.status_code == 200, (staff_code, path, response.text)
            shown = response.json()
            shown.pop("exported_at", None)
            found[f"{staff_code} {path}"] = shown
    for staff_code in (WORKER, SECRETARY):
        answer = await world.wire(staff_code).send()
        assert answer.status_code == 200, answer.text
        found[f"{staff_code} feed"] = answer.json()["changes"]
    return found


def as_text(found: Any) -> str:
    """What was read, as one text."""
    return json.dumps(found, ensure_ascii=False)


async def far_house(world: World) -> str:
    """A household of another banner, with a phone number that nobody here may see."""
    phone = world.wire(FAR_WORKER)
    house = phone.new_id()
    put = phone.mutation(
        1, "household", id=house, grid=FAR_GRID, fields={"head_name": "远方", "phone": FAR_PHONE}
    )
    assert (await phone.send(put)).json()["verdicts"][0]["outcome"] == "applied"
    return house
