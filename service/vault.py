"""Personal data and secrets at rest: sealed with AES-256-GCM by a key that lies outside the database.

A sealed value is a text: `gl1.`, eight hex digits that name the key, `.`, and the nonce with the ciphertext in URL-safe Base64. It stands
in place of the plain text in columns and inside JSON, where it needs no escaping. Several keys can be known: the first seals, all open.
"""

import base64
import binascii
import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sync_protocol.records import PERSONAL

log = logging.getLogger("gridloop")

_NONCE = 12
_SEALED = re.compile(r"gl1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{38,})")
_IN_JSON = re.compile(r'"(gl1\.[0-9a-f]{8}\.[A-Za-z0-9_-]{38,})"')


class KeyMissing(Exception):
    """No key is known that a sealed value names, or the keys cannot be read."""


class Vault:
    """Seals and opens values. `Vault(keys)`, the newest key first."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {hashlib.sha256(b"gridloop vault" + key).hexdigest()[:8]: AESGCM(key) for key in keys}
        self.kid = next(iter(self._ciphers))
        self.log_key = hashlib.sha256(b"gridloop log" + keys[-1]).digest()

    def seal(self, text: str) -> str:
        """A text, sealed by the newest key; the same text gives another value each time."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._ciphers[self.kid].encrypt(nonce, text.encode("utf-8", "surrogatepass"), None)
        return f"gl1.{self.kid}.{base64.urlsafe_b64encode(sealed).rstrip(b'=').decode()}"

    def open(self, text: str) -> str:
        """The plain text of a sealed value; any other text as it is. Raises `KeyMissing` when its key is not known."""
        found = _SEALED.fullmatch(text)
        if found is None:
            return text
        cipher = self._ciphers.get(found[1])
        if cipher is None:
            raise KeyMissing(f"No key {found[1]} is known, with which personal data was sealed; add it to GRIDLOOP_SECRET_KEYS.")
        try:
            raw = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
            return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], None).decode("utf-8", "surrogatepass")
        except (InvalidTag, binascii.Error, ValueError):
            return text  # somebody wrote a text that looks like a sealed one

    def is_stale(self, text: str) -> bool:
        """Whether a value was sealed by an older key, or not at all."""
        found = _SEALED.fullmatch(text)
        return found is None or found[1] != self.kid

    def seal_fields(self, kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record or mutation with the personal ones sealed; what is no text is left as it is."""
        names = PERSONAL.get(kind, frozenset())
        return {name: self.seal(value) if name in names and isinstance(value, str) else value for name, value in fields.items()}

    def open_json(self, text: str, change: Callable[[str], str] = lambda plain: plain) -> str:
        """A JSON text with every sealed value in it opened."""
        if "gl1." not in text:
            return text
        return _IN_JSON.sub(lambda found: json.dumps(change(self.open(found[1])), ensure_ascii=False), text)


def read_keys(text: str | None, file: Path) -> list[bytes]:
    """The keys of the settings, or of the key file, which is made with a first key where there is none. Raises `KeyMissing`."""
    if text is None:
        if not file.exists():
            _make(file)
        text = file.read_text()
    keys = []
    for part in text.replace(",", "\n").split():
        try:
            keys.append(base64.urlsafe_b64decode(part))
        except (binascii.Error, ValueError):
            raise KeyMissing("A secret key is no Base64; make one with ‘gridloop keys secret’.") from None
    if not keys or any(len(key) != 32 for key in keys):
        raise KeyMissing(
            f"Secret keys are 32 bytes in URL-safe Base64, the newest first; {file} or GRIDLOOP_SECRET_KEYS has none, or others."
        )
    return keys


def _make(file: Path) -> None:
    """Makes a key file whole, so that no other process ever reads half of one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
        made.write(new_key() + "\n")
    try:
        os.link(draft, file)
        log.warning("made a key that seals personal data in %s; keep a copy elsewhere, without it that data is lost", file)
    except FileExistsError:
        pass  # another process was faster
    finally:
        draft.unlink()


def new_key() -> str:
    """A new key as settings take it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
