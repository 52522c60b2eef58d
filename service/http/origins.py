"""Which web pages of other origins may call the API."""

from collections.abc import Sequence

from fastapi.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


def cross_origin(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """An app whose answers pages of these origins may read; with none the app itself."""
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "Content-Encoding",
            "If-None-Match",
            "Idempotency-Key",
            "X-Request-ID",
        ],
        expose_headers=[
            "ETag",
            "Link",
            "Retry-After",
            "X-Request-ID",
            "Idempotency-Replayed",
            "Content-Disposition",
        ],
        max_age=3600,
    )
