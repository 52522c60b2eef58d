"""The JSON Schema of the messages, written from their declarations for authors of clients."""

import json
from pathlib import Path
from typing import Any

import msgspec

from sync_protocol.fields import WORD
from sync_protocol.kinds import Field, Kind
from sync_protocol.messages import SyncAnswer, SyncRequest, VerifyAnswer, VerifyRequest
from sync_protocol.records import KINDS

SCHEMA_JSON = Path(__file__).parent / "messages.schema.json"
MESSAGES = (SyncRequest, SyncAnswer, VerifyRequest, VerifyAnswer)

_PROBLEM = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal (RFC 9457); `type` ends in a stable slug, and some types carry"
    " further members.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "expected": {
            "type": "integer",
            "description": "`seq-gap`: the seq from which the server asks for mutations",
        },
        "seq": {
            "type": "integer",
            "description": "`device-forked`: the first seq whose content differs",
        },
        "protocol": {
            "type": "integer",
            "description": "`protocol-unknown`: the protocol that was sent",
        },
        "speaks": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "`protocol-unknown`: the protocols that the server speaks",
        },
        "acked": {
            "type": "integer",
            "description": "`device-revoked`, `upgrade-needed`: the highest seq taken in",
        },
        "verdicts": {
            "type": "array",
            "description": "`device-revoked`, `upgrade-needed`: as in an answer",
        },
        "wipe": {
            "type": "boolean",
            "description": "`device-revoked`: everything was handed in, delete all data now",
        },
    },
}


def message_definitions(ref_template: str) -> dict[str, Any]:
    """The schemas of the messages by name, and of each kind's fields, for a document that keeps
    them under `ref_template`.
    """
    _, found = msgspec.json.schema_components(MESSAGES, ref_template=ref_template)
    found["Mutation"]["properties"].pop("flaw", None)
    for kind in KINDS.values():
        found[kind.name.title().replace("_", "") + "Fields"] = fields_schema(kind)
    return found


def fields_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema of the fields of a record kind, as they leave the server."""
    properties = {
        field.name: _open(field, field.type.schema())
        | {"title": field.zh, "x-merge": field.policy.value}
        for field in kind.fields
    }
    return {
        "type": "object",
        "title": kind.zh,
        "description": f"The fields of a record of kind `{kind.name}`; fields of newer apps may"
        " stand beside them.",
        "properties": properties,
        "required": list(kind.required),
    }


def _open(field: Field, schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field: where its list may get more words, those of this version are examples
    only.
    """
    if field.list is None:
        return schema
    if "enum" in schema:
        words = {"type": "string", "pattern": f"^{WORD.pattern}$", "examples": schema["enum"]}
        return words | {"x-list": field.list}
    return schema | {"items": _open(field, schema["items"])}


# The fields of a term of the vocabulary, as they leave the server.
_DAY = {"type": "string", "format": "date"}
TERM: dict[str, Any] = {
    "type": "object",
    "title": "词条",
    "description": "The fields of a record of kind `vocabulary`, which is read-only.",
    "properties": {
        "list": {"type": "string", "examples": ["tag", "limit"]},
        "code": {"type": "string", "pattern": f"^{WORD.pattern}$"},
        "name_zh": {"type": "string"},
        "name_en": {"type": "string"},
        "name_mn": {"type": "string"},
        "position": {"type": "integer"},
        "valid_from": _DAY | {"description": "The first day on which it holds; always"},
        "valid_to": _DAY | {"description": "The first day on which it does not any more; never"},
        "attributes": {"type": "object", "examples": [{"working_days": 3}]},
    },
    "required": ["list", "code", "name_zh", "name_en", "position", "attributes"],
}


def messages_schema() -> dict[str, Any]:
    """The whole document: every message under `$defs`."""
    definitions = {
        **message_definitions("#/$defs/{name}"),
        "VocabularyFields": TERM,
        "Problem": _PROBLEM,
    }
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The messages of the Gridloop sync protocol",
        "$defs": definitions,
    }
    plain: dict[str, Any] = json.loads(json.dumps(document))
    return plain


def write_schema() -> None:
    """Writes the document beside PROTOCOL.md."""
    text = json.dumps(messages_schema(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    SCHEMA_JSON.write_text(text, encoding="utf-8")
