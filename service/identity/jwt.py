"""JSON Web Tokens, signed with ES256 and nothing else: the one place that speaks to python-jose.

What a token says about itself is checked before the library sees it: three parts, a small header
that is a JSON object with texts in it, our algorithm, a key that we know, no extension that we
would have to understand.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from jose import JWTError, jwk
from jose import jwt as jose_jwt

from sync_protocol.texts import Text

ALGORITHM = "ES256"
MAX_TOKEN = 8_000
_MAX_HEADER = 1_000
# Others tell of keys (`jwk`, `jku`, `x5u`, `x5c`) or of extensions that must be understood
# (`crit`): none is read here.
_HEADERS = frozenset({"alg", "kid", "typ"})


class NotOurs(Exception):
    """The token is no JWT of this server; the text says why."""


def sign(claims: Mapping[str, Any], private_pem: str, kid: str) -> str:
    """A signed token."""
    return str(
        jose_jwt.encode(dict(claims), private_pem, algorithm=ALGORITHM, headers={"kid": kid})
    )


def key_id(token: str) -> str:
    """The key that a token names; raises `NotOurs` for a header that this server does not write."""
    if len(token) > MAX_TOKEN or not token.isascii():
        raise NotOurs(Text("The token is no JWT"))
    first, *rest = token.split(".")
    if len(rest) != 2 or not 0 < len(first) <= _MAX_HEADER:
        raise NotOurs(Text("The token is no JWT"))
    try:
        header = json.loads(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise NotOurs(Text("The token is no JWT")) from None
    if not isinstance(header, dict) or not header.keys() <= _HEADERS:
        raise NotOurs(Text("The token's header is not one of this server"))
    if any(not isinstance(value, str) for value in header.values()):
        raise NotOurs(Text("The token's header holds what is no text"))
    if header.get("alg") != ALGORITHM or header.get("typ", "JWT") != "JWT" or not header.get("kid"):
        raise NotOurs(Text("The token was not signed by this server"))
    return str(header["kid"])


def verified(token: str, public_pem: str, issuer: str) -> dict[str, Any]:
    """The claims of a token whose header `key_id` has read, if the signature and the issuer are
    right; raises `NotOurs`.

    Whether it has expired is for the caller to say, who has a clock.
    """
    try:
        return jose_jwt.decode(
            token,
            public_pem,
            algorithms=[ALGORITHM],
            issuer=issuer,
            options={"verify_aud": False, "verify_exp": False, "verify_iat": False},
        )
    except (JWTError, ValueError, TypeError, RecursionError):
        raise NotOurs(Text("The token's signature or issuer is wrong")) from None


def public_key(pem: str, kid: str) -> dict[str, str]:
    """A public key as a JWK (RFC 7517)."""
    found = jwk.construct(pem, ALGORITHM).to_dict()
    texts = {
        name: value.decode() if isinstance(value, bytes) else str(value)
        for name, value in found.items()
    }
    return texts | {"kid": kid, "use": "sig"}
