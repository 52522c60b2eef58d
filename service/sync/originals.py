"""What came of a held mutation, where the mutation itself is shown as a normalised copy: kept whole, and small.

It may be anything that a client sent, so that nothing but its author, and who decides on it, reads it.
"""

import zlib

from service.vault import Vault


def packed(original: bytes, vault: Vault) -> bytes:
    """What came, as it is kept."""
    return zlib.compress(original, 6)


def unpacked(kept: bytes, vault: Vault) -> bytes:
    """What came, from what is kept."""
    return zlib.decompress(kept)
