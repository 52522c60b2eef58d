"""What the commands share: which data folder, and the settings of a command."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from service.kit.settings import Settings
from service.kit.settings_reading import read_settings

log = logging.getLogger("gridloop")

Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of the embedded PostgreSQL. 内置数据库的文件夹。"),
]


def chosen(data: Path | None, demo: bool = False) -> Settings:
    """Settings from the environment, with what the command line says on top."""
    settings = read_settings()
    updates: dict[str, object] = {}
    if data is not None:
        updates["data"] = data
    if demo:
        updates["demo"] = True
    return settings.model_copy(update=updates)
