"""By what a household of a file is known again: its number in the city, its number in the village,
or else head and address in the village.

What is found by is a blind index (see `Keyring.blind_index`), for heads and addresses are personal.
What it was made of is kept beside it, encrypted, so that it can be made anew by another key: a
number whole, which exports show; of head and address only a hash.
"""

import hashlib
import re
import unicodedata
from typing import NamedTuple

from service.kit.encryption import Place
from service.kit.field_cipher import FieldCipher
from service.kit.keyring import Keyring

# In the place of a village: the number counts in the whole city.
CITY = "#"
# In the place of a village: an id that another database gave.
ELSEWHERE = "#id"
_IGNORED = re.compile(r"[\s、，,。.（）()-]+")
_NUMBER, _IN_VILLAGE, _PLACE = "no", "village", "place"


class Key(NamedTuple):
    """A key: where it counts, and its content as it is kept; `digest`: what the blind index is made
    of.
    """

    scope: str
    content: str
    digest: bytes

    @classmethod
    def of(cls, scope: str, content: str) -> "Key":
        """A key with its digest."""
        text = f"{scope}\0{content}".encode()
        return cls(scope, content, hashlib.blake2b(text, digest_size=16).digest())

    @property
    def number(self) -> str | None:
        """The number, if it is one of the city."""
        kind, _, text = self.content.partition(":")
        return text if kind == _NUMBER else None

    @property
    def village_number(self) -> str | None:
        """The number, if it is one of a village."""
        kind, _, text = self.content.partition(":")
        return text if kind == _IN_VILLAGE else None


def of_number(number: str) -> Key:
    """The key of a number that is unique in the city."""
    return Key.of(CITY, f"{_NUMBER}:{number}")


def of_village_number(village: str, number: str) -> Key:
    """The key of a number that is unique in a village."""
    return Key.of(village, f"{_IN_VILLAGE}:{number}")


def of_id(id: str) -> Key:
    """The key of an id that an export of another database has written."""
    return Key.of(ELSEWHERE, f"id:{id}")


def of_place(village: str, head: str, address: str | None) -> Key:
    """The key of a head and an address in a village, whichever blanks and width somebody typed."""
    text = f"{_folded(head)}\0{_folded(address or '')}"
    return Key.of(village, f"{_PLACE}:{hashlib.sha256(text.encode()).hexdigest()}")


def _folded(text: str) -> str:
    return _IGNORED.sub("", unicodedata.normalize("NFKC", text)).lower()


def place_of(scope: str, household: str) -> Place:
    """Where the content of a key is encrypted for."""
    return Place("import_key", "content", f"{scope}\0{household}")


class StoredKey(NamedTuple):
    """A row of `import_key`."""

    scope: str
    blind: bytes
    household: str
    content: bytes


def stored(cipher: FieldCipher, key: Key, household: str, index: bytes | None = None) -> StoredKey:
    """A key as it is kept, by the newest master key. `index`: the first of its `indexes`, where
    that is at hand.
    """
    content = cipher.encrypt_bytes(place_of(key.scope, household), key.content.encode())
    index = index or cipher.keyring.blind_index(key.digest)
    return StoredKey(key.scope, index, household, content)


def opened(cipher: FieldCipher, row: StoredKey) -> Key | None:
    """A key from what is kept of it; None when it cannot be decrypted."""
    content = cipher.decrypt_bytes(place_of(row.scope, row.household), row.content)
    return None if content is None else Key.of(row.scope, content.decode())


def indexes(keyring: Keyring, key: Key) -> list[bytes]:
    """Every index under which a key may be stored, that of the newest master key first."""
    return keyring.blind_indexes(key.digest)
