"""What came of a held mutation, where the mutation itself is shown as a normalised copy: kept
whole, small and encrypted.

It may be anything that a client sent, so that nobody reads it but its author, and who works there
and decides on it.
"""

import zlib

from service.kit.encryption import MARKER, Place
from service.kit.field_cipher import FieldCipher

# What the migration kept before there was a cipher at hand; encrypted bytes begin with the name of
# a key.
_ZLIB = b"\x78"


def original_place(id: str) -> Place:
    """Where the original of a held mutation stands."""
    return Place("held", "original", id)


def packed(id: str, original: bytes, cipher: FieldCipher) -> bytes:
    """What came, as it is kept."""
    return cipher.encrypt_bytes(original_place(id), zlib.compress(original, 6))


def unpacked(id: str, kept: bytes, cipher: FieldCipher) -> bytes:
    """What came, from what is kept; the marker when it cannot be decrypted."""
    if cipher.reads_v1 and kept.startswith(_ZLIB):
        try:
            return zlib.decompress(kept)
        except zlib.error:
            pass  # a key's name may begin with the same byte
    plain = cipher.decrypt_bytes(original_place(id), kept)
    return MARKER.encode() if plain is None else zlib.decompress(plain)


def is_plain(kept: bytes) -> bool:
    """Whether an original was kept by the migration, unencrypted."""
    try:
        zlib.decompress(kept)
    except zlib.error:
        return False
    return True
