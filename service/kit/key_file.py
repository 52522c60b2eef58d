"""The master keys, which lie outside the database: in a setting or a file."""

import base64
import binascii
import logging
import os
import secrets
from pathlib import Path

from service.kit.encryption import KEY_BYTES, KeyMissing
from sync_protocol.texts import Text

log = logging.getLogger("gridloop")


def read_keys(text: str | None, file: Path) -> list[bytes]:
    """The keys of GRIDLOOP_SECRET_KEYS (`text`), or else of the key file. Raises `KeyMissing`,
    which says where what is wrong.
    """
    if text is not None:
        parts = [part.strip() for part in text.replace(",", "\n").split()]
        found = [
            _key(part, Text("key {number} of GRIDLOOP_SECRET_KEYS", number=number))
            for number, part in enumerate(parts, 1)
        ]
        if not found:
            raise KeyMissing(
                Text("There is no key in GRIDLOOP_SECRET_KEYS; ‘gridloop keys secret’ makes one.")
            )
        return found
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        raise KeyMissing(
            Text(
                "The key file {file} is not there. Put it back from its copy, or name it by"
                " GRIDLOOP_SECRET_FILE.",
                file=file,
            )
        ) from None
    except OSError as error:
        raise KeyMissing(
            Text("The key file {file} cannot be read: {why}.", file=file, why=error.strerror or "")
        ) from None
    found = [
        _key(part, Text("line {number} of the key file {file}", number=number, file=file))
        for number, line in enumerate(lines, 1)
        for part in line.replace(",", " ").split()
    ]
    if not found:
        raise KeyMissing(
            Text("There is no key in the key file {file}; put it back from its copy.", file=file)
        )
    return found


def _key(part: str, where: Text) -> bytes:
    try:
        key = base64.b64decode(part, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyMissing(
            Text(
                "There is no key in {where}: a key is 32 bytes in URL-safe Base64, 44 characters;"
                " ‘gridloop keys secret’ makes one.",
                where=where,
            )
        )
    return key


def make_key_file(file: Path) -> None:
    """Makes a key file with a first key, whole, so that no other process ever reads half of one;
    one that is there stays.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
        made.write(new_key() + "\n")
    try:
        os.link(draft, file)
        log.warning(
            "made a key that encrypts personal data in %s; keep a copy elsewhere, without it that"
            " data is lost",
            file,
        )
    except FileExistsError:
        pass  # another process was faster
    finally:
        draft.unlink()


def new_key() -> str:
    """A new key as settings take it."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode()
