"""Files that are made for one answer, and deleted once it was sent."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

PDF = "application/pdf"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@asynccontextmanager
async def file_to_answer(name: str, suffix: str) -> AsyncIterator[Path]:
    """An empty file to be written and answered; deleted if that fails. `name`: what it is one of,
    for who looks into the folder.
    """
    with tempfile.NamedTemporaryFile(
        prefix=f"gridloop-{name}-", suffix=suffix, delete=False
    ) as file:
        path = Path(file.name)
    try:
        yield path
    except BaseException:
        await asyncio.to_thread(path.unlink)
        raise


def answered(
    path: Path,
    media_type: str,
    plain: str,
    name: str = "",
    headers: Mapping[str, str] | None = None,
) -> FileResponse:
    """The answer with a file, which is deleted once it was sent. `plain`: what the file is called
    in ASCII; `name`: in any letters.
    """
    disposition = f'attachment; filename="{plain}"'
    if name:
        disposition += f"; filename*=UTF-8''{quote(name)}"
    return FileResponse(
        path,
        media_type=media_type,
        headers={**(headers or {}), "Content-Disposition": disposition},
        background=BackgroundTask(path.unlink),
    )
