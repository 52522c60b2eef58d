"""The OpenAPI document: what FastAPI knows of the routes, and the sync messages from their own declarations."""

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from service.errors import ProblemBody
from sync_protocol.schema import message_definitions


def install(app: FastAPI) -> None:
    """Makes `app.openapi()` complete."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            schemas.update(message_definitions("#/components/schemas/{name}"))
            schemas["Problem"] = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = complete  # type: ignore[method-assign]


def write(app: FastAPI, path: Path) -> bool:
    """Writes the document; returns whether it changed."""
    text = json.dumps(app.openapi(), ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return True
