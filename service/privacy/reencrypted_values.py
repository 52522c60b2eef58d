"""One stored value, from the form of the previous release or a former key to the present one."""

from typing import NamedTuple

import msgspec

from service.kit.encryption import Place, Undecrypted
from service.kit.field_cipher import FieldCipher


class Outcome(msgspec.Struct):
    """What came of it: how many rows were `changed`; how many values could not be decrypted
    (`lost`), and for want of which keys.
    """

    changed: int = 0
    lost: int = 0
    missing: set[str] = msgspec.field(default_factory=set)
    complete: bool = False


class Work(NamedTuple):
    """What encrypts anew, and what came of it so far."""

    cipher: FieldCipher
    outcome: Outcome

    def text(self, place: Place, stored: str) -> str:
        """A value of a text column in the present form; as it is if it cannot be decrypted."""
        if self.cipher.is_current(stored):
            return stored
        plain = self.cipher.decrypt(place, stored)
        if isinstance(plain, Undecrypted):
            self.lose(stored)
            return stored
        return self.cipher.encrypt(place, plain)

    def is_current(self, stored: str) -> bool:
        """Whether a value of a JSON column is in the present form, by the newest key."""
        return stored.startswith('"') and self.cipher.is_current(stored[1:])

    def lose(self, stored: str) -> None:
        """Notes a value that cannot be decrypted."""
        self.outcome.lost += 1
        missing = self.cipher.missing_key(stored.strip('"'))
        if missing is not None:
            self.outcome.missing.add(missing)

    def lose_bytes(self, stored: bytes) -> None:
        """The same for bytes, which begin with the name of their key."""
        self.outcome.lost += 1
        kid = stored[:4].hex()
        if self.cipher.keyring.get(kid) is None:
            self.outcome.missing.add(kid)
