"""The form in which the previous release encrypts, for as long as its processes may run beside this
one's; the next release deletes this.

A value is `gl1.`, the key's name, `.`, and nonce with ciphertext in Base64: by the master key
itself, bound to no place. Encrypted are texts in the declared personal fields alone: in their
columns, in mutations' JSON (the log, held ones) and in conflicts.
"""

import base64
import binascii
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sync_protocol.messages import Conflict, Mutation, canonical_json
from sync_protocol.records import PERSONAL

# The keys by name, the newest first.
Ciphers: TypeAlias = Mapping[str, AESGCM]

_NONCE = 12
_FORM = re.compile(r"gl1\.([0-9a-f]{8})\.([A-Za-z0-9_-]{38,})")


def kid_of(key: bytes) -> str:
    """The name of a master key."""
    return hashlib.sha256(b"gridloop vault" + key).hexdigest()[:8]


def encrypt(ciphers: Ciphers, text: str) -> str:
    """A text, encrypted by the newest key."""
    kid, cipher = next(iter(ciphers.items()))
    nonce = os.urandom(_NONCE)
    encrypted = nonce + cipher.encrypt(nonce, text.encode("utf-8", "surrogatepass"), None)
    return f"gl1.{kid}.{base64.urlsafe_b64encode(encrypted).rstrip(b'=').decode()}"


def decrypt(ciphers: Ciphers, stored: str) -> str | None:
    """The plain text of a declared personal value; what is not encrypted is from before there was a
    key. None when it cannot be had.
    """
    found = _FORM.fullmatch(stored)
    if found is None:
        return stored
    cipher = ciphers.get(found[1])
    if cipher is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(found[2] + "=" * (-len(found[2]) % 4))
        return cipher.decrypt(raw[:_NONCE], raw[_NONCE:], None).decode("utf-8", "surrogatepass")
    except (InvalidTag, binascii.Error, ValueError):
        return None


def encrypt_field(ciphers: Ciphers, kind: str, field: str, value: Any) -> Any:
    """The value of a field; what is no text, or not personal, is left as it is."""
    return (
        encrypt(ciphers, value)
        if field in PERSONAL.get(kind, ()) and isinstance(value, str)
        else value
    )


def encrypt_body(ciphers: Ciphers, mutation: Mutation) -> bytes:
    """The canonical JSON of a mutation with the personal texts encrypted."""
    kind = mutation.kind
    if kind not in PERSONAL:
        return mutation.canonical()
    fields = {
        name: encrypt_field(ciphers, kind, name, value) for name, value in mutation.fields.items()
    }
    return msgspec.structs.replace(mutation, fields=fields).canonical()


def decrypt_body(stored: str, plain: Callable[[str], str]) -> str:
    """The canonical JSON of a mutation; `plain` gives the plain text of a value that stands in a
    personal field.
    """
    if '"gl1.' not in stored:
        return stored
    body = json.loads(stored)
    names, fields = PERSONAL.get(body.get("kind")), body.get("fields")
    if not names or not isinstance(fields, dict):
        return stored
    body["fields"] = {
        name: plain(value) if name in names and isinstance(value, str) else value
        for name, value in fields.items()
    }
    return canonical_json(body)


def encrypt_conflicts(
    ciphers: Ciphers, kind: str, conflicts: list[Conflict] | None
) -> list[Conflict] | None:
    """The conflicts of a verdict as the log keeps them."""
    if not conflicts or kind not in PERSONAL:
        return conflicts

    def encrypted(item: Conflict) -> Conflict:
        kept, lost = (
            encrypt_field(ciphers, kind, item.field, value) for value in (item.kept, item.lost)
        )
        return msgspec.structs.replace(item, kept=kept, lost=lost)

    return [encrypted(item) for item in conflicts]


def decrypt_verdict(stored: str, kind: str, plain: Callable[[str], str]) -> str:
    """What the log keeps of a verdict, with the personal values of its conflicts in plain text."""
    names = PERSONAL.get(kind)
    if not names or '"gl1.' not in stored:
        return stored
    rest = json.loads(stored)
    for item in rest.get("conflicts") or ():
        if item["field"] in names:
            for name in ("kept", "lost"):
                if isinstance(item.get(name), str):
                    item[name] = plain(item[name])
    return canonical_json(rest)
