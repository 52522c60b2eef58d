"""The master keys: which encrypts, which decrypts, and the indexes that they make."""

import hashlib
import hmac
from collections.abc import Sequence
from functools import cached_property

from service.kit import encryption_v1
from service.kit.encryption import KeyMissing, MasterKey, State, keyed_digest, unkeyed_digest
from service.kit.field_cipher import FieldCipher

_INDEX = 16  # bytes of a blind index, behind the name of its key


class Keyring:
    """The master keys, the newest first; `cipher(state)` encrypts and decrypts for a database in
    that state.

    `foreign`: set while the database is encrypted by a key that is not among these. Then nothing is
    encrypted: it could not be read any more once the right key is back.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._master = {key.kid: key for key in map(MasterKey, keys)}
        self.kid = next(iter(self._master))
        self.log_keys = [hashlib.sha256(b"gridloop log" + key).digest() for key in keys]
        self.log_key = self.log_keys[0]
        self.foreign: KeyMissing | None = None
        self._ciphers = {state: FieldCipher(self, state) for state in State}

    def cipher(self, state: str) -> "FieldCipher":
        """What encrypts and decrypts for a database in a state."""
        return self._ciphers[State(state)]

    @property
    def newest(self) -> MasterKey:
        """The key that encrypts."""
        return self._master[self.kid]

    def refuse_foreign(self) -> None:
        """Raises `KeyMissing` while the database is encrypted by another key."""
        if self.foreign is not None:
            raise KeyMissing(*self.foreign.args)

    def get(self, kid: str) -> MasterKey | None:
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
        unkeyed = unkeyed_digest(content)
        return [*(keyed_digest(key, unkeyed) for key in self._master.values()), unkeyed]


def _blind(key: MasterKey, content: bytes) -> bytes:
    return key.kid_bytes + hmac.digest(key.index_key, content, "sha256")[:_INDEX]
