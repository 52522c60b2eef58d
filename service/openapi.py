"""The OpenAPI document: what FastAPI knows of the routes, and the sync messages from their own declarations."""

import json
from pathlib import Path
from typing import Any

import msgspec
from fastapi import FastAPI

from service.errors import ProblemBody
from sync_protocol.messages import SyncAnswer, SyncRequest, VerifyAnswer, VerifyRequest
from sync_protocol.records import KINDS, Kind

_MESSAGES = (SyncRequest, SyncAnswer, VerifyRequest, VerifyAnswer)
_REF = "#/components/schemas/{name}"


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` complete."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            _, messages = msgspec.json.schema_components(_MESSAGES, ref_template=_REF)
            schemas.update(messages)
            schemas["Problem"] = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
            for kind in KINDS.values():
                schemas[kind.name.title().replace("_", "") + "Fields"] = fields_schema(kind)
            schemas["Mutation"]["properties"].pop("flaw", None)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def fields_schema(kind: Kind) -> dict[str, Any]:
    """JSON Schema of the fields of a record kind, as they leave the server."""
    properties = {field.name: field.type.schema() | {"title": field.zh, "x-merge": field.policy.value} for field in kind.fields}
    return {
        "type": "object",
        "title": kind.zh,
        "description": f"The fields of a record of kind `{kind.name}`; fields of newer apps may stand beside them.",
        "properties": properties,
        "required": list(kind.required),
    }


def write(app: FastAPI, path: Path) -> bool:
    """Writes the document; returns whether it changed."""
    text = json.dumps(app.openapi(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True
