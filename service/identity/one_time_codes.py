"""One-time codes that people read to each other or write down: for a forgotten password, or in place of a lost second factor."""

import hmac
import secrets

from service.identity.tokens import derived_key
from service.settings import Settings

# Crockford's alphabet: no I, L, O or U, so that nothing is misread. Ten of them are 50 bits.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_MISREAD = str.maketrans("ILO", "110")
LENGTH = 10


def new_code() -> str:
    """A new code in two groups: `7K3M9-Q2FXW`."""
    code = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
    return f"{code[:5]}-{code[5:]}"


def plain(code: str) -> str:
    """A code as it was typed, without its dash, in capitals, and with what is easily misread put right."""
    return code.upper().replace("-", "").replace(" ", "").translate(_MISREAD)


def hash_of_code(settings: Settings, staff_code: str, purpose: str, code: str) -> str:
    """What the database keeps of a code: a keyed hash, for 50 bits could be gone through by whoever has a copy of the table."""
    text = f"{purpose}\0{staff_code}\0{plain(code)}"
    return hmac.new(derived_key(settings, b"one-time codes"), text.encode("utf-8", "replace"), "sha256").hexdigest()
