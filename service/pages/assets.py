"""The files that pages bring along: style sheets, scripts and the icon, under a name with a hash of
their content, so that a browser asks for each once.
"""

import gzip
import hashlib
import mimetypes
from functools import cache
from pathlib import Path
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.http.compression import accepts_gzip

FOLDER = Path(__file__).parent / "static"
PREFIX = "/static/"
_KINDS = frozenset({".css", ".js", ".svg"})
_FOR_GOOD = "public, max-age=31536000, immutable"


class Asset(NamedTuple):
    """A file as it is sent."""

    path: str
    kind: str
    plain: bytes
    packed: bytes


@cache
def assets() -> dict[str, Asset]:
    """All files, by their names in the folder."""
    found = {}
    for file in sorted(FOLDER.rglob("*")):
        if file.suffix in _KINDS:
            content = file.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            name = file.relative_to(FOLDER).as_posix()
            found[name] = Asset(
                f"{PREFIX}{digest}/{name}", kind, content, gzip.compress(content, 9, mtime=0)
            )
    return found


def asset(name: str) -> str:
    """The path of a file."""
    return assets()[name].path


async def _send(request: Request) -> Response:
    found = next((one for one in assets().values() if one.path == request.url.path), None)
    if found is None:
        raise HTTPException(404)
    is_packed = accepts_gzip(request.headers.get("accept-encoding", ""))
    headers = {"Cache-Control": _FOR_GOOD, "Vary": "Accept-Encoding", "Content-Type": found.kind}
    if found.kind.startswith("text/"):
        headers["Content-Type"] += "; charset=utf-8"
    if is_packed:
        headers["Content-Encoding"] = "gzip"
    return Response(found.packed if is_packed else found.plain, headers=headers)


route = Route(PREFIX + "{digest}/{name:path}", _send, methods=["GET"], include_in_schema=False)
