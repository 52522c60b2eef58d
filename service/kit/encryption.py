"""Personal data and secrets at rest: encrypted with AES-256-GCM by keys that lie outside the
database.

A value in the present form is a text: `gl2.`, eight hex digits that name the master key, `.`, and
the nonce with the ciphertext in URL-safe Base64. The associated data name the place (table, column,
row), so that a value opens nowhere else; and each purpose has a key of its own, derived from the
master key. Several master keys can be known: the first encrypts, all decrypt.

Only declared columns are ever decrypted, never a text because it looks encrypted. What cannot be
decrypted is shown as `MARKER`.
"""

import hashlib
from enum import StrEnum
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from service.kit import encryption_v1

# What is shown in place of a value that cannot be decrypted.
MARKER = "〔无法解密 · cannot be decrypted〕"
PREFIX = "gl2."
NONCE_BYTES = 12
KID_BYTES = 4  # bytes of a master key's name in front of bytes
KEY_BYTES = 32  # of a master key
DIGEST_BYTES = 12  # bytes of a digest without a key


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


class MasterKey:
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


def unkeyed_digest(content: bytes) -> bytes:
    """A digest of a content, as the previous release made them."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()


def keyed_digest(key: MasterKey, unkeyed: bytes) -> bytes:
    """The digest that tells nothing to whoever has no key, made of the one without a key."""
    return (
        key.kid_bytes
        + hashlib.blake2b(unkeyed, digest_size=DIGEST_BYTES, key=key.digest_key).digest()
    )
