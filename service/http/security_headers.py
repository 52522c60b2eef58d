"""The headers that keep a browser from reading more into an answer than is meant: on every answer,
whichever layer gives it.
"""

from collections.abc import Iterable, Mapping

Raw = list[tuple[bytes, bytes]]

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), camera=(), microphone=()",
}
# What the API answers is data; the docs pages bring their own scripts, from this server.
_DATA_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; object-src 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)


def _raw(headers: Mapping[str, str]) -> Raw:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


ON_PAGES = _raw({**_ALWAYS, "Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"})
ON_DATA = _raw({**_ALWAYS, "Content-Security-Policy": _DATA_POLICY, "Cache-Control": "no-store"})
OVER_TLS = (b"strict-transport-security", b"max-age=31536000")


def secured(headers: Iterable[tuple[bytes, bytes]], wanted: Raw = ON_DATA) -> Raw:
    """The headers of an answer, with those of the `wanted` that it does not have itself."""
    given = [*headers]
    names = {name for name, _ in given}
    return given + [pair for pair in wanted if pair[0] not in names]
