"""One-time codes that people read to each other or write down: for a forgotten password, or in
place of a lost second factor.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from service.identity import second_factor_queries as queries
from service.kit.database import Connection
from service.kit.encryption import Place, Undecrypted
from service.kit.encryption_queries import cipher_of
from service.kit.field_cipher import FieldCipher
from service.kit.keyring import Keyring
from service.kit.settings import Settings

# Crockford's alphabet: no I, L, O or U, so that nothing is misread. Ten of them are 50 bits.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("ILO", "110")
LENGTH = 10
_BY_A_KEY = re.compile(r"[0-9a-f]{64}")


class Kept(NamedTuple):
    """Whose codes they are, and for what."""

    staff_code: str
    purpose: str

    @property
    def place(self) -> Place:
        """Where they stand, encrypted."""
        return Place("one_time_code", "hash", f"{self.staff_code}\0{self.purpose}")


def new_code() -> str:
    """A new code in two groups: `7K3M9-Q2FXW`."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
    return f"{code[:5]}-{code[5:]}"


def plain(code: str) -> str:
    """A code as it was typed, without its dash, in capitals, and with what is easily misread put
    right.
    """
    return code.upper().replace("-", "").replace(" ", "").translate(_MISREAD)


# -------------------------------------------------------------------------------- how they are kept

# The hash of a code, encrypted like everything else that must outlive a change of keys: without the
# key nobody goes through its 50 bits. Before, it was an HMAC by a key derived from a master key.
# Such a one is known as long as that master key is, and re-encryption keeps the derived key with
# it.


async def keep_codes(
    connection: Connection,
    settings: Settings,
    kept: Kept,
    codes: Sequence[str],
    now: datetime,
    expires_at: datetime | None = None,
) -> None:
    """Keeps new codes in place of all that a cadre has for that purpose."""
    cipher = await cipher_of(connection, settings)
    values = [cipher.encrypt(kept.place, json.dumps({"hash": _hash(kept, code)})) for code in codes]
    await queries.replace_codes(connection, *kept, values, now, expires_at)


async def use_code(
    connection: Connection, settings: Settings, kept: Kept, code: str, now: datetime
) -> bool:
    """Uses a code up; False when there is none like it, or its time is over."""
    cipher = await cipher_of(connection, settings)
    for stored in await queries.lock_codes(connection, *kept, now):
        if _is(cipher, kept, stored, code):
            await queries.delete_code(connection, *kept, stored)
            return True
    return False


def reencrypted(cipher: FieldCipher, kept: Kept, stored: str) -> str | None:
    """A code as it is kept, by the newest key; None when it cannot be decrypted."""
    if _BY_A_KEY.fullmatch(stored):
        keys = [key.hex() for key in _derived_keys(cipher.keyring)]
        return cipher.encrypt(kept.place, json.dumps({"hmac": stored, "keys": keys}))
    text = cipher.decrypt(kept.place, stored)
    return None if isinstance(text, Undecrypted) else cipher.encrypt(kept.place, text)


def _is(cipher: FieldCipher, kept: Kept, stored: str, code: str) -> bool:
    if _BY_A_KEY.fullmatch(stored):
        return _is_by_a_key(kept, stored, code, _derived_keys(cipher.keyring))
    text = cipher.decrypt(kept.place, stored)
    if isinstance(text, Undecrypted):
        return False
    found = json.loads(text)
    if "hmac" in found:
        return _is_by_a_key(kept, found["hmac"], code, [*map(bytes.fromhex, found["keys"])])
    return hmac.compare_digest(found["hash"], _hash(kept, code))


def _content(kept: Kept, code: str) -> bytes:
    return f"{kept.purpose}\0{kept.staff_code}\0{plain(code)}".encode("utf-8", "replace")


def _hash(kept: Kept, code: str) -> str:
    return hashlib.sha256(_content(kept, code)).hexdigest()


def _is_by_a_key(kept: Kept, stored: str, code: str, keys: Sequence[bytes]) -> bool:
    found = [hmac.new(key, _content(kept, code), "sha256").hexdigest() for key in keys]
    return any(hmac.compare_digest(stored, each) for each in found)


def _derived_keys(keyring: Keyring) -> list[bytes]:
    return [hmac.digest(key, b"gridloop one-time codes", "sha256") for key in keyring.log_keys]
