"""Personal data and secrets at rest: encrypted with AES-256-GCM by keys that lie outside the
database.

A value in the present form is a text: `gl2.`, eight hex digits that name the master key, `.`, and
the nonce with the ciphertext in URL-safe Base64. The associated data name the place (table, column,
row), so that a value opens nowhere else; and each purpose has a key of its own, derived from the
master key. Several master keys can be known: the first encrypts, all decrypt.

Only declared columns are ever decrypted, never a text because it looks encrypted. What cannot be
decrypted is shown as `MARKER`.
"""

import base64
import binascii
import hashlib
import hmac
import logging
import os
import time
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.kit import encryption_v1, metrics

log = logging.getLogger("gridloop")

# What is shown in place of a value that cannot be decrypted.
MARKER = "〔无法解密 · cannot be decrypted〕"
PREFIX = "gl2."
_NONCE = 12
_KID = 4  # bytes of a master key's name in front of bytes
KEY_BYTES = 32  # of a master key
_UNKEYED = 12  # bytes of a digest without a key
_INDEX = 16  # bytes of a blind index, behind the name of its key
_LOGGED_EVERY_S = 60.0


class KeyMissing(Exception):
    """A key is not known without which the service cannot work, or the keys cannot be read. Its
    text is for whoever runs the server.
    """


class State(StrEnum):
    """What a database holds, and what is written to it; see `server.encryption`.

    `compatible`: the form of the previous release is written, both are read. `writing`: the present
    form is written, both are read. `complete`: everything was brought into the present form, and
    nothing else is taken for an encrypted value.
    """

    COMPATIBLE = "compatible"
    WRITING = "writing"
    COMPLETE = "complete"


class Purpose(StrEnum):
    """What a derived key is for; a value of one purpose never opens as one of another."""

    PERSONAL = "personal data"
    SIGNING = "signing keys"
    LOG = "mutation log"
    DIGEST = "digests"
    INDEX = "blind indexes"


class Place(NamedTuple):
    """Where an encrypted value stands: its table, column and the key of its row."""

    table: str
    column: str
    row: str

    @property
    def purpose(self) -> Purpose:
        """What the value is for."""
        return _PURPOSES.get(self.table, Purpose.PERSONAL)

    def associated(self) -> bytes:
        """The associated data."""
        return "\0".join(self).encode()


_PURPOSES = {"signing_key": Purpose.SIGNING, "mutation": Purpose.LOG, "mutation_body": Purpose.LOG}


class Undecrypted(str):
    """A value that could not be decrypted: it reads as the marker, and is written back as it is
    stored (`raw`).
    """

    __slots__ = ("raw",)
    raw: str

    def __new__(cls, raw: str) -> "Undecrypted":
        made = super().__new__(cls, MARKER)
        made.raw = raw
        return made


class _MasterKey:
    """A master key with the keys that are derived from it."""

    def __init__(self, key: bytes) -> None:
        self.kid = encryption_v1.kid_of(key)
        self.kid_bytes = bytes.fromhex(self.kid)
        self.v1 = AESGCM(key)
        self.ciphers = {purpose: AESGCM(_derived(key, purpose)) for purpose in Purpose}
        self.digest_key = _derived(key, Purpose.DIGEST)
        self.index_key = _derived(key, Purpose.INDEX)


def _derived(key: bytes, purpose: Purpose) -> bytes:
    return HKDF(SHA256(), 32, None, f"gridloop 2 {purpose.value}".encode()).derive(key)


class Keyring:
    """The master keys, the newest first; `cipher(state)` encrypts and decrypts for a database in
    that state.

    `foreign`: set while the database is encrypted by a key that is not among these. Then nothing is
    encrypted: it could not be read any more once the right key is back.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._master = {key.kid: key for key in map(_MasterKey, keys)}
        self.kid = next(iter(self._master))
        self.log_keys = [hashlib.sha256(b"gridloop log" + key).digest() for key in keys]
        self.log_key = self.log_keys[0]
        self.foreign: KeyMissing | None = None
        self._ciphers = {state: FieldCipher(self, state) for state in State}

    def cipher(self, state: str) -> "FieldCipher":
        """What encrypts and decrypts for a database in a state."""
        return self._ciphers[State(state)]

    @property
    def newest(self) -> _MasterKey:
        """The key that encrypts."""
        return self._master[self.kid]

    def refuse_foreign(self) -> None:
        """Raises `KeyMissing` while the database is encrypted by another key."""
        if self.foreign is not None:
            raise KeyMissing(*self.foreign.args)

    def get(self, kid: str) -> _MasterKey | None:
        """A key by its name."""
        return self._master.get(kid)

    @cached_property
    def v1(self) -> encryption_v1.Ciphers:
        """The keys as the previous release used them."""
        return {kid: key.v1 for kid, key in self._master.items()}

    def blind_index(self, content: bytes) -> bytes:
        """By what an encrypted value is found that has this content: it is the same for the same
        content, and tells nothing to whoever has no key. By the newest key; see `blind_indexes`.
        """
        return _blind(self.newest, content)

    def blind_indexes(self, content: bytes) -> list[bytes]:
        """Every index under which a content may be stored, until all is brought to the newest
        key.
        """
        return [_blind(key, content) for key in self._master.values()]

    def is_index_current(self, stored: bytes) -> bool:
        """Whether a blind index is by the newest key."""
        return stored.startswith(self.newest.kid_bytes)

    def all_digests(self, content: bytes) -> list[bytes]:
        """Every digest under which a content may be stored."""
        unkeyed = _unkeyed(content)
        return [*(_keyed(key, unkeyed) for key in self._master.values()), unkeyed]


class FieldCipher:
    """Encrypts and decrypts values for a database in a `state`."""

    def __init__(self, keyring: Keyring, state: State) -> None:
        self.keyring = keyring
        self.state = state

    @property
    def writes_v1(self) -> bool:
        """Whether processes of the previous release may run beside this one, and must be able to
        read what is written.
        """
        return self.state is State.COMPATIBLE

    @property
    def reads_v1(self) -> bool:
        """Whether there may be values in the form of the previous release, and plain text from
        before there was a key.
        """
        return self.state is not State.COMPLETE

    def encrypt(self, place: Place, text: str) -> str:
        """A text, encrypted for a place; what could not be decrypted is given back as it was
        stored. Raises `KeyMissing`.
        """
        if isinstance(text, Undecrypted):
            return text.raw
        self.keyring.refuse_foreign()
        if self.writes_v1:
            return encryption_v1.encrypt(self.keyring.v1, text)
        key = self.keyring.newest
        encrypted = _encrypted(
            key.ciphers[place.purpose], place, text.encode("utf-8", "surrogatepass")
        )
        return f"{PREFIX}{key.kid}.{base64.urlsafe_b64encode(encrypted).rstrip(b'=').decode()}"

    def decrypt(self, place: Place, stored: str) -> str:
        """The plain text of a value that stands in an encrypted column; an `Undecrypted` when there
        is none to be had.
        """
        plain = self.try_decrypt(place, stored)
        if plain is None and self.reads_v1 and not stored.startswith(PREFIX):
            plain = encryption_v1.decrypt(self.keyring.v1, stored)
        return self.undecrypted(place, stored) if plain is None else plain

    def shown(self, place: Place, stored: str) -> str:
        """The same for answers: plain text, or the marker."""
        return str(self.decrypt(place, stored))

    def try_decrypt(self, place: Place, stored: str) -> str | None:
        """The plain text of a value in the present form that belongs to a place; None for
        everything else.
        """
        if not stored.startswith(PREFIX):
            return None
        kid, _, text = stored[len(PREFIX) :].partition(".")
        key = self.keyring.get(kid)
        if key is None:
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            plain = key.ciphers[place.purpose].decrypt(
                raw[:_NONCE], raw[_NONCE:], place.associated()
            )
            return plain.decode("utf-8", "surrogatepass")
        except (InvalidTag, binascii.Error, ValueError):
            return None

    def undecrypted(self, place: Place, stored: str) -> Undecrypted:
        """Counts and logs a value that could not be decrypted."""
        self.note_undecryptable(place, self.missing_key(stored))
        return Undecrypted(stored)

    def missing_key(self, stored: str) -> str | None:
        """The name of the key that an encrypted value needs, if it is not known."""
        prefix, _, rest = stored.partition(".")
        kid = rest.partition(".")[0]
        named = (
            prefix in ("gl1", "gl2") and len(kid) == 2 * _KID and {*kid} <= {*"0123456789abcdef"}
        )
        return kid if named and self.keyring.get(kid) is None else None

    def note_undecryptable(self, place: Place, missing: str | None) -> None:
        """Counts a value that cannot be decrypted, and logs one a minute for each column."""
        metrics.undecryptable.labels(place.table, place.column).inc()
        now = time.monotonic()
        last = _logged.get(place[:2])
        if last is None or now - last >= _LOGGED_EVERY_S:
            _logged[place[:2]] = now
            why = "it was changed, or does not belong there"
            if missing is not None:
                why = f"key {missing} is not known; add it to GRIDLOOP_SECRET_KEYS or the key file"
            log.error(
                "%s.%s of %s cannot be decrypted: %s",
                place.table,
                place.column,
                place.row.replace("\0", " "),
                why,
            )

    def is_current(self, stored: str) -> bool:
        """Whether a value is in the present form, by the newest key; it may be forged all the
        same.
        """
        return stored.startswith(f"{PREFIX}{self.keyring.kid}.")

    # ---------------------------------------------------------------------------------------- bytes

    def encrypt_bytes(self, place: Place, data: bytes) -> bytes:
        """Bytes, encrypted for a place: the key's name in four bytes, the nonce, the ciphertext.
        Raises `KeyMissing`.
        """
        self.keyring.refuse_foreign()
        key = self.keyring.newest
        return key.kid_bytes + _encrypted(key.ciphers[place.purpose], place, data)

    def are_bytes_current(self, stored: bytes) -> bool:
        """Whether bytes are encrypted by the newest key, if they are what they seem."""
        return stored.startswith(self.keyring.newest.kid_bytes)

    def decrypt_bytes(self, place: Place, stored: bytes) -> bytes | None:
        """The plain bytes; None when there are none to be had, which is counted and logged."""
        kid = stored[:_KID].hex()
        key = self.keyring.get(kid)
        if key is not None:
            nonce, encrypted = stored[_KID : _KID + _NONCE], stored[_KID + _NONCE :]
            try:
                return key.ciphers[place.purpose].decrypt(nonce, encrypted, place.associated())
            except (InvalidTag, ValueError):
                pass
        self.note_undecryptable(place, kid if key is None else None)
        return None

    # -------------------------------------------------------------------------------------- digests

    def digests(self, contents: Sequence[bytes]) -> list[bytes]:
        """What tells whether a repeated seq has the same content (promise 10), and tells nothing to
        whoever has no key.

        A keyed digest is made of the one without a key, so that old ones can be brought to it
        without their content.
        """
        unkeyed = [_blake2b(content, digest_size=_UNKEYED).digest() for content in contents]
        if self.writes_v1:
            return unkeyed
        kid, key = self.keyring.newest.kid_bytes, self.keyring.newest.digest_key
        return [
            kid + _blake2b(digest, digest_size=_UNKEYED, key=key).digest() for digest in unkeyed
        ]

    @staticmethod
    def is_unkeyed(stored: bytes) -> bool:
        """Whether a digest is one of the previous release."""
        return len(stored) == _UNKEYED

    def keyed(self, unkeyed: bytes) -> bytes:
        """The keyed digest for one of the previous release."""
        return _keyed(self.keyring.newest, unkeyed)

    def is_digest_current(self, stored: bytes) -> bool:
        """Whether a digest is keyed, by the newest key."""
        return not self.is_unkeyed(stored) and stored[:_KID] == self.keyring.newest.kid_bytes

    def has_digest(self, stored: bytes, content: bytes) -> bool | None:
        """Whether a stored digest is that of a content; None when its key is not known."""
        unkeyed = _unkeyed(content)
        if self.is_unkeyed(stored):
            return stored == unkeyed
        key = self.keyring.get(stored[:_KID].hex())
        return None if key is None else stored == _keyed(key, unkeyed)


_blake2b = hashlib.blake2b
_logged: dict[tuple[str, ...], float] = {}


def _encrypted(cipher: AESGCM, place: Place, data: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + cipher.encrypt(nonce, data, place.associated())


def _blind(key: _MasterKey, content: bytes) -> bytes:
    return key.kid_bytes + hmac.digest(key.index_key, content, "sha256")[:_INDEX]


def _unkeyed(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_UNKEYED).digest()


def _keyed(key: _MasterKey, unkeyed: bytes) -> bytes:
    return (
        key.kid_bytes + hashlib.blake2b(unkeyed, digest_size=_UNKEYED, key=key.digest_key).digest()
    )
