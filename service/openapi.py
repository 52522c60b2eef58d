"""The OpenAPI document: what FastAPI knows of the routes, and the sync messages from their own
declarations.
"""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from service.http.idempotency import NO_KEYS
from service.kit.errors import (
    IDEMPOTENCY_BUSY,
    IDEMPOTENCY_OTHER,
    MALFORMED,
    MEDIA_TYPE,
    TOO_LARGE,
    TOO_SLOW,
    UNSUPPORTED,
    ProblemBody,
    documented,
)
from sync_protocol.records import KINDS
from sync_protocol.schema import TERM, message_definitions


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` complete."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            messages = message_definitions("#/components/schemas/{name}")
            assert not messages.keys() & schemas.keys(), (
                f"two schemas are called alike: {messages.keys() & schemas.keys()}"
            )
            schemas.update(messages)
            _discriminate(schemas)
            _add_conventions(document["paths"])
            schemas["Problem"] = ProblemBody.model_json_schema(
                ref_template="#/components/schemas/{model}"
            )
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def _discriminate(schemas: dict[str, Any]) -> None:
    """Tells the kinds of changes apart, so that a generated client has a type for each: `kind` says
    which.
    """
    plain = schemas.pop("Change")
    mapping = {}
    for kind in (*KINDS, *_FEED_ONLY):
        fields = kind.title().replace("_", "") + "Fields"
        if kind in _FEED_ONLY:
            schemas[fields] = _FEED_ONLY[kind]
        schemas[fields] = _for_clients(fields, schemas[fields])
        name = kind.title().replace("_", "") + "Change"
        properties = {
            **plain["properties"],
            "kind": {"type": "string", "enum": [kind]},
            "fields": {"$ref": f"#/components/schemas/{fields}"},
        }
        assert name not in schemas, f"a body is called like the change {name}"
        schemas[name] = {**plain, "title": name, "properties": properties}
        mapping[kind] = f"#/components/schemas/{name}"
    schemas["SyncAnswer"]["properties"]["changes"]["items"] = {
        "oneOf": [{"$ref": reference} for reference in mapping.values()],
        "discriminator": {"propertyName": "kind", "mapping": mapping},
    }


_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "Made by the client for one request: sent again with the same key, it happens"
    " once and gets the first answer",
}
_KNOWN = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "maxLength": 500, "pattern": "^[!-~]*$"},
    "description": "The ETag of the answer that the client holds; what has not changed since is"
    " not sent again",
}


def _add_conventions(paths: dict[str, Any]) -> None:
    """What holds for every route, and no route says by itself: limits of bodies, repeated requests,
    ETags.
    """
    for path, methods in paths.items():
        for method, route in methods.items():
            if not path.startswith("/v1/"):
                continue
            responses = route["responses"]
            if "requestBody" in route:
                _merge(responses, documented(MALFORMED, TOO_SLOW, TOO_LARGE, UNSUPPORTED))
            if method == "post" and not path.startswith(NO_KEYS):
                route.setdefault("parameters", []).append(_KEY)
                _merge(responses, documented(IDEMPOTENCY_BUSY, IDEMPOTENCY_OTHER))
            if method == "get" and "application/json" in responses["200"].get("content", {}):
                route.setdefault("parameters", []).append(_KNOWN)
                responses["304"] = {"description": "Not changed since the ETag in `If-None-Match`"}


def _merge(responses: dict[str, Any], more: dict[int | str, dict[str, Any]]) -> None:
    for status, answer in more.items():
        known = responses.get(str(status))
        if known is None or MEDIA_TYPE not in known.get("content", {}):
            responses[str(status)] = answer
            continue
        for slug, example in answer["content"][MEDIA_TYPE]["examples"].items():
            if slug not in known["content"][MEDIA_TYPE].get("examples", {}):
                known["content"][MEDIA_TYPE].setdefault("examples", {})[slug] = example
                known["description"] += f"; `{slug}`: {example['value']['title']}"


def _for_clients(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """The fields of a kind as they come with a change, with names that generators can make classes
    of.

    Nothing is required: a record may be corrected piece by piece, and a deleted one has no fields
    left.
    """
    whole = {key: value for key, value in schema.items() if key not in ("required", "title")}
    properties = {}
    for field, item in whole["properties"].items():
        item = dict(item)
        if "title" in item:
            item["x-label"] = item.pop("title")
        properties[field] = item
    return whole | {"title": name, "x-label": schema["title"], "properties": properties}


_TEXT = {"type": "string"}
# Kinds that only the feed has: nobody writes them by a mutation.
_FEED_ONLY: dict[str, dict[str, Any]] = {
    "held": {
        "type": "object",
        "title": "待核数据",
        "description": "A notice of one's own held mutation and what became of it; in the mailbox"
        " `@staff_code`.",
        "properties": {
            **dict.fromkeys(
                ("kind", "record", "grid", "reason", "detail", "state", "device"), _TEXT
            ),
            "decision": {"type": ["string", "null"]},
            "seq": {"type": "integer"},
            "mutation": {"type": "object", "additionalProperties": True},
        },
    },
    "article": {
        "type": "object",
        "title": "文章",
        "description": "A published article for a unit and all below it; in the mailbox `#unit`.",
        "properties": {
            **dict.fromkeys(("unit", "kind", "title", "body"), _TEXT),
            "published_at": {"type": "string", "format": "date-time"},
        },
    },
    "vocabulary": TERM,
}


def write(app: FastAPI, path: Path) -> bool:
    """Writes the document; returns whether it changed."""
    text = json.dumps(app.openapi(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True
