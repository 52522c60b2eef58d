"""What a token's header may hold: nothing of it reaches the library unread, and nothing makes the
server fail.
"""

import base64
import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.identity import jwt, tokens
from tests.world import WORKER, World

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["alg", "kid", "typ", "crit", "jwk", "jku", "x5u", "x5c", "b64", "cty", "zip"]
)
HEADERS = st.dictionaries(
    NAMES, JSON | st.sampled_from(["ES256", "HS256", "none", "JWT"]), max_size=6
)


def part(value: Any) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"kid": {}},
            {"kid": []},
            {"kid": 1},
            {"kid": None},
            {"kid": ""},
            {"kid": "x" * 5000},
            {"kid": "../../etc/passwd"},
        ),
        *(
            {"alg": {}},
            {"alg": []},
            {"alg": None},
            {"alg": "none"},
            {"alg": "HS256"},
            {"alg": "es256"},
            {"typ": {}},
            {"typ": "at+jwt"},
        ),
        *(
            {"crit": ["exp"]},
            {"jwk": {"kty": "EC"}},
            {"jku": "http://127.0.0.1/"},
            {"x5c": ["x"]},
            {"b64": False},
        ),
    ],
)
async def test_a_header_that_we_do_not_write_is_no_token(
    world: World, change: dict[str, Any]
) -> None:
    header, payload, signature = (await world.token(WORKER)).split(".")
    known = json.loads(base64.urlsafe_b64decode(header + "=="))
    token = f"{part(known | change)}.{payload}.{signature}"
    for path in ("/v1/problems", "/v1/auth/me"):
        response = await world.client.get(path, headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.json()["type"]) == (
            401,
            "/problems/token-invalid",
        ), change
    response = await world.client.post(
        "/v1/sync", json={}, headers={"Authorization": f"Bearer {token}"}
    )
    assert (response.status_code, response.json()["type"]) == (401, "/problems/token-invalid"), (
        change
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"1",
        b"{",
        b"[" * 900,
        b"\xff\xfe",
        b'{"alg":"ES256","alg":"none"}',
    ],
)
async def test_a_header_that_is_no_object_is_no_token(world: World, raw: bytes) -> None:
    _, payload, signature = (await world.token(WORKER)).split(".")
    response = await world.client.get(
        "/v1/auth/me", headers={"Authorization": f"Bearer {part(raw)}.{payload}.{signature}"}
    )
    assert (response.status_code, response.json()["type"]) == (401, "/problems/token-invalid")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(HEADERS, st.text(max_size=30), st.text(max_size=30))
def test_no_header_makes_the_reader_fail(
    header: dict[str, Any], payload: str, signature: str
) -> None:
    try:
        kid = jwt.key_id(f"{part(header)}.{payload}.{signature}")
    except jwt.NotOurs:
        return
    assert (header["alg"], header["kid"]) == ("ES256", kid)
    with pytest.raises(jwt.NotOurs):
        jwt.verified(f"{part(header)}.{payload}.{signature}", PUBLIC, "gridloop")


PUBLIC = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEEVs/o5+uQbTjL3chynL4wXgUg2R9
q9UU8I5mEovUf86QZ7kOBIjJwqnzD1omageEHWwHdBO6B+dFabmdT9POxg==
-----END PUBLIC KEY-----
"""


async def test_a_full_cache_forgets_the_token_that_was_used_least_lately(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CACHED", 2)
    state = world.state
    cache = tokens.Tokens(state.database, state.settings, state.now)
    verified = []
    verify = cache.verify

    async def counted(token: str) -> tokens.Claims:
        verified.append(token)
        return await verify(token)

    monkeypatch.setattr(cache, "verify", counted)
    first, second, third = [await world.token(WORKER, str(uuid.uuid4())) for _ in range(3)]
    for token in (first, second, first, third, first, second):
        await cache.read(token, state.now())
    assert verified == [first, second, third, second]
