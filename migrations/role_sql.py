"""What statements about roles of the database need: quoted names, and passwords as PostgreSQL keeps
them.
"""

import base64
import hashlib
import hmac
import os
import unicodedata

_SCRAM_ROUNDS = 4096  # PostgreSQL's own


def scram_verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password (RFC 5803): so no statement and no log has it itself."""
    salt = salt or os.urandom(16)
    prepared = unicodedata.normalize("NFKC", password).encode()
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, _SCRAM_ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    served = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, served)]
    return f"SCRAM-SHA-256${_SCRAM_ROUNDS}:{parts[0]}${parts[1]}:{parts[2]}"


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
