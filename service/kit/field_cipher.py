"""Encrypts and decrypts values, each bound to its place, and makes digests of contents."""

import base64
import binascii
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.kit import encryption_v1, metrics
from service.kit.encryption import (
    DIGEST_BYTES,
    KID_BYTES,
    NONCE_BYTES,
    PREFIX,
    Place,
    State,
    Undecrypted,
    keyed_digest,
    unkeyed_digest,
)

if TYPE_CHECKING:
    from service.kit.keyring import Keyring


log = logging.getLogger("gridloop")
_LOGGED_EVERY_S = 60.0


class FieldCipher:
    """Encrypts and decrypts values for a database in a `state`."""

    def __init__(self, keyring: "Keyring", state: State) -> None:
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
                raw[:NONCE_BYTES], raw[NONCE_BYTES:], place.associated()
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
            prefix in ("gl1", "gl2")
            and len(kid) == 2 * KID_BYTES
            and {*kid} <= {*"0123456789abcdef"}
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
        kid = stored[:KID_BYTES].hex()
        key = self.keyring.get(kid)
        if key is not None:
            nonce, encrypted = (
                stored[KID_BYTES : KID_BYTES + NONCE_BYTES],
                stored[KID_BYTES + NONCE_BYTES :],
            )
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
        unkeyed = [_blake2b(content, digest_size=DIGEST_BYTES).digest() for content in contents]
        if self.writes_v1:
            return unkeyed
        kid, key = self.keyring.newest.kid_bytes, self.keyring.newest.digest_key
        return [
            kid + _blake2b(digest, digest_size=DIGEST_BYTES, key=key).digest() for digest in unkeyed
        ]

    @staticmethod
    def is_unkeyed(stored: bytes) -> bool:
        """Whether a digest is one of the previous release."""
        return len(stored) == DIGEST_BYTES

    def keyed(self, unkeyed: bytes) -> bytes:
        """The keyed digest for one of the previous release."""
        return keyed_digest(self.keyring.newest, unkeyed)

    def is_digest_current(self, stored: bytes) -> bool:
        """Whether a digest is keyed, by the newest key."""
        return not self.is_unkeyed(stored) and stored[:KID_BYTES] == self.keyring.newest.kid_bytes

    def has_digest(self, stored: bytes, content: bytes) -> bool | None:
        """Whether a stored digest is that of a content; None when its key is not known."""
        unkeyed = unkeyed_digest(content)
        if self.is_unkeyed(stored):
            return stored == unkeyed
        key = self.keyring.get(stored[:KID_BYTES].hex())
        return None if key is None else stored == keyed_digest(key, unkeyed)


_blake2b = hashlib.blake2b
_logged: dict[tuple[str, ...], float] = {}


def _encrypted(cipher: AESGCM, place: Place, data: bytes) -> bytes:
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, place.associated())
