"""Access tokens: JWT signed with ES256; and refresh tokens, which rotate."""

import asyncio
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from cachetools import LRUCache
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.audit.audit_log import Act
from service.identity import jwt, signing_key_queries
from service.kit.database import Database
from service.kit.encryption import KeyMissing, Place, Undecrypted
from service.kit.encryption_queries import cipher_of, missing_key_text, refuse_unknown_keys
from service.kit.errors import GRANT_REFUSED, TOKEN_EXPIRED, TOKEN_INVALID, Problem
from service.kit.field_cipher import FieldCipher
from service.kit.now import utc_now
from service.kit.settings import Settings
from sync_protocol.periods import to_ms
from sync_protocol.texts import Text, text_of

LEEWAY_S = 60
CACHED = 20_000
_UNKNOWN_KEY_RELOADS_AFTER_S = 5.0
# A key that is rotated in signs in every process after this at the latest; a session that ended is
# noticed on the sync route, too.
RELOADED_EVERY_S = 30.0


class Claims(msgspec.Struct, frozen=True):
    """Who a token speaks for: a staff code and the device it is bound to, if any; or an app
    (`client`) with its `scopes`.

    `session` is the sign-in that it grew from, `generation` the refresh token of it with which it
    was issued; `expires` is a Unix time. `registered_ms`: when the device was registered, Unix
    milliseconds; a restored server learns it from here.
    """

    staff_code: str
    device: str | None
    expires: float
    session: str | None = None
    client: str | None = None
    scopes: tuple[str, ...] = ()
    generation: int | None = None
    registered_ms: int | None = None


class Issued(msgspec.Struct, frozen=True):
    """What an access token says beside its subject: the device, the sign-in, and the refresh token
    with which it is issued.
    """

    device: str | None = None
    session: str | None = None
    generation: int | None = None
    registered_at: datetime | None = None
    client: str | None = None
    scopes: Sequence[str] = ()


class Tokens:
    """Makes and reads tokens with the keys that the database keeps, so that every process knows
    them. Keys, and whether a sign-in still stands, are looked up again after `reloaded_every_s`.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        now: Callable[[], datetime] = utc_now,
        reloaded_every_s: float = RELOADED_EVERY_S,
    ) -> None:
        self._database = database
        self._settings = settings
        self._now = now
        self.reloaded_every_s = reloaded_every_s
        self._private: tuple[str, str] | None = None
        self._missing: KeyMissing | None = None
        self._public: dict[str, str] = {}
        self._loaded = 0.0
        self._cache: LRUCache[str, Claims] = LRUCache(CACHED)
        # Sign-ins for which the database was asked lately.
        self._looked: LRUCache[tuple[str, str | None, int | None], float] = LRUCache(CACHED)
        self._loading = asyncio.Lock()

    async def ready(self) -> None:
        """Reads the keys if they were not read yet. Call it before opening a transaction in which a
        token is made: reading them there would wait for a second connection while holding the
        first. Raises `KeyMissing` when the key that signs cannot be decrypted.
        """
        async with self._loading:
            if self._private is None or time.monotonic() - self._loaded > self.reloaded_every_s:
                await self.load()
        if self._missing is not None:
            raise self._missing

    async def load(self) -> None:
        """Reads the keys, and makes the first on a new database. Those that check tokens are good
        without the one that signs.
        """
        async with self._database.transaction(bookkeeping=True) as connection:
            cipher = await cipher_of(connection, self._settings)
            rows = await signing_key_queries.signing_keys(connection, self._now())
            if not rows:
                await refuse_unknown_keys(connection, self._settings)
                made, private, public_pem = make_key()
                await signing_key_queries.add_signing_key(
                    connection,
                    made,
                    cipher.encrypt(key_place(made), private),
                    public_pem,
                    first=True,
                )
                rows = await signing_key_queries.signing_keys(connection, self._now())
        kid, self._private, self._missing = rows[0]["kid"], None, None
        keyring = self._settings.keyring
        try:
            self._private = (
                kid,
                decrypted_key(self._settings, cipher, kid, rows[0]["private_pem"]),
            )
            keyring.foreign = None
        except SigningKeyChanged as error:
            self._missing = error
        except KeyMissing as error:
            self._missing = keyring.foreign = error
        public = {row["kid"]: row["public_pem"] for row in rows}
        if public.keys() != self._public.keys():
            self._cache.clear()  # what a key signed that is gone now is no longer good
        self._public = public
        self._loaded = time.monotonic()

    async def rotate(self, now: datetime, at_once: bool = False, act: Act | None = None) -> str:
        """Adds a new key, which signs from now on; the older ones go when all that they signed has
        expired, or at once.

        Raises `KeyMissing` where the present one is encrypted by a key that is not known. With
        `at_once` it is given up. `act`: how it is noted in the trail.
        """
        kid, private, public = make_key()
        last = (
            timedelta()
            if at_once
            else timedelta(
                minutes=self._settings.access_minutes, seconds=LEEWAY_S + 2 * RELOADED_EVERY_S
            )
        )
        async with self._database.transaction() as connection:
            if not at_once:
                await refuse_unknown_keys(connection, self._settings)
            cipher = await cipher_of(connection, self._settings)
            await signing_key_queries.add_signing_key(
                connection, kid, cipher.encrypt(key_place(kid), private), public, first=False
            )
            await signing_key_queries.retire_signing_keys(connection, kid, now + last)
            if act is not None:
                await act(connection)
        return kid

    def is_due(self, claims: Claims) -> bool:
        """Whether it is time to ask the database again whether a phone's sign-in still stands.

        The first use of a refresh token's access token is always such a moment: it tells that the
        refresh token has arrived.
        """
        at = self._looked.get((claims.staff_code, claims.session, claims.generation))
        return at is None or time.monotonic() - at > self.reloaded_every_s

    def looked_at(self, claims: Claims) -> None:
        """The database was asked just now."""
        self._looked[claims.staff_code, claims.session, claims.generation] = time.monotonic()

    def access_token(self, subject: str, now: datetime, about: Issued) -> str:
        """A signed access token; `ready` comes first."""
        assert self._private is not None
        kid, pem = self._private
        claims = {
            "iss": self._settings.issuer,
            "sub": subject,
            "iat": int(now.timestamp()),
            "exp": int((now + timedelta(minutes=self._settings.access_minutes)).timestamp()),
            "jti": secrets.token_hex(8),
        }
        more = {
            "device": about.device,
            "sid": about.session,
            "rt": about.generation,
            "reg": None if about.registered_at is None else to_ms(about.registered_at),
            "client_id": about.client,
            "scope": " ".join(about.scopes) or None,
        }
        claims |= {name: value for name, value in more.items() if value is not None}
        return jwt.sign(claims, pem, kid)

    async def read(self, token: str, now: datetime) -> Claims:
        """Who a token speaks for; raises `Problem`. A token that was read before is looked up until
        it expires.
        """
        if time.monotonic() - self._loaded > self.reloaded_every_s:
            await self.load()
        known = self._cache.get(token)
        if known is None:
            known = self._cache[token] = await self.verify(token)
        if known.expires + LEEWAY_S < now.timestamp():
            raise Problem(
                TOKEN_EXPIRED, "The access token has expired; get a new one with the refresh token."
            )
        return known

    async def verify(self, token: str) -> Claims:
        try:
            kid = jwt.key_id(token)
            if (
                kid not in self._public
                and time.monotonic() - self._loaded > _UNKNOWN_KEY_RELOADS_AFTER_S
            ):
                await self.load()
            if kid not in self._public:
                raise jwt.NotOurs(Text("The token was not signed by this server"))
            claims = jwt.verified(token, self._public[kid], self._settings.issuer)
        except jwt.NotOurs as error:
            raise Problem(
                TOKEN_INVALID, Text("{what}; sign in at /v1/auth/token.", what=text_of(error))
            ) from None
        try:
            return Claims(
                str(claims["sub"]),
                claims.get("device"),
                float(claims["exp"]),
                claims.get("sid"),
                claims.get("client_id"),
                tuple(str(claims.get("scope", "")).split()),
                claims.get("rt"),
                claims.get("reg"),
            )
        except (KeyError, TypeError, ValueError):
            raise Problem(
                TOKEN_INVALID, "The token lacks a claim; sign in at /v1/auth/token."
            ) from None

    async def jwks(self) -> dict[str, Any]:
        """The public keys, for others to check tokens with (RFC 7517)."""
        await self.ready()
        return {"keys": [jwt.public_key(pem, kid) for kid, pem in self._public.items()]}


def key_place(kid: str) -> Place:
    """Where the private half of a signing key stands."""
    return Place("signing_key", "private_pem", kid)


class SigningKeyChanged(KeyMissing):
    """The newest signing key cannot be decrypted although its key is known: somebody changed it."""


def decrypted_key(settings: Settings, cipher: FieldCipher, kid: str, stored: str) -> str:
    """The private half of a signing key; raises `KeyMissing`, for without it nobody can sign in."""
    found = cipher.decrypt(key_place(kid), stored)
    if isinstance(found, Undecrypted):
        missing = cipher.missing_key(stored)
        if missing is not None:
            raise KeyMissing(missing_key_text(settings, missing))
        raise SigningKeyChanged(
            Text(
                "The signing key {kid} was changed and cannot be decrypted; run ‘gridloop keys"
                " rotate --at-once’.",
                kid=kid,
            )
        )
    return found


def make_key() -> tuple[str, str, str]:
    """A new key pair: its id, the private and the public key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(public).hexdigest()[:16], private.decode(), public.decode()


def new_refresh_token() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def successor_of(refresh_token: str, settings: Settings) -> str:
    """The refresh token that follows on one: the same however often it is asked for, and only the
    server can tell it.
    """
    digest = hmac.digest(derived_key(settings, b"refresh"), refresh_token.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def derived_key(settings: Settings, purpose: bytes) -> bytes:
    """A key of its own for a purpose, the same in all processes as long as the secret keys keep
    their order.
    """
    return hmac.digest(settings.keyring.log_key, b"gridloop " + purpose, "sha256")


def hash_of(refresh_token: str) -> str:
    """What the database keeps of a refresh token."""
    return hashlib.sha256(refresh_token.encode()).hexdigest()


def refused(detail: str) -> Problem:
    """A grant that gives no token; carries OAuth's `error` too (RFC 6749, section 5.2)."""
    return Problem(GRANT_REFUSED, detail, error="invalid_grant")
