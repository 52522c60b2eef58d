"""Temporary folders of killed processes go with the next start, and nothing else does; data folders
of any name work.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import psutil
import pytest

from service.kit.localization import in_language
from service.kit.settings import Settings
from service.runtime.leftovers import own_folder, temporary_files_in
from service.runtime.migrating import migrate_embedded
from service.runtime.postgres import PostgresFailed, embedded, temporary_folder
from simulator.throwaway import TEST_CONFIG
from sync_protocol.texts import text_of

KEEPS = """
import sys, time
from pathlib import Path
from service.runtime.leftovers import own_folder, temporary_files_in
with own_folder("x", Path(sys.argv[1])) as folder:
    (folder / "inside").mkdir()
    (folder / "inside" / "file").write_text("x")
    print(folder, flush=True)
    time.sleep(60)
"""
SERVES = """
import sys, time
from pathlib import Path
from service.runtime.postgres import embedded, temporary_folder
with temporary_folder("x", Path(sys.argv[1])) as folder, embedded(folder) as url:
    print(folder, flush=True)
    time.sleep(60)
"""


def started(code: str, parent: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process with a folder of its own in `parent`, and that folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(parent)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def kill(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert process.stdout is not None
    process.stdout.close()


def test_what_a_killed_process_left_goes_with_the_next_start_and_nothing_else(
    tmp_path: Path,
) -> None:
    for name in ("gridloop-x-of-an-older-release", "gridloop-y-of-another-name-owned", "other"):
        (tmp_path / name).mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (tmp_path / "gridloop-x-link-owned").symlink_to(outside)
    (tmp_path / "gridloop-x-file-owned").touch()
    if os.geteuid() == 0:
        (tmp_path / "gridloop-x-of-somebody-else-owned").mkdir()
        os.chown(tmp_path / "gridloop-x-of-somebody-else-owned", 12345, 12345)
    stays = {*tmp_path.iterdir()}
    alive, held = started(KEEPS, tmp_path)
    killed, left = started(KEEPS, tmp_path)
    try:
        kill(killed)
        assert (left / "inside" / "file").exists()
        with own_folder("x", tmp_path) as mine:
            assert {*tmp_path.iterdir()} == stays | {held, mine}
            assert (held / "inside" / "file").exists()
            assert (outside / "file").exists()
        assert {*tmp_path.iterdir()} == stays | {held}
    finally:
        kill(alive)


def test_a_server_that_runs_on_in_a_folder_whose_owner_was_killed_is_stopped_first() -> None:
    with temporary_folder("parent") as parent:
        process, folder = started(SERVES, parent)
        server = psutil.Process(
            int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
        )
        kill(process)
        assert server.is_running()
        with temporary_folder("x", parent):
            assert not folder.exists()
            assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    "name", ["包头 网格 + 50%41", 'it\'s "quoted" $HOME `id` \\n a&b#c?d=e;f:g@h']
)
def test_a_data_folder_may_have_any_name(name: str) -> None:
    async def roles(url: str) -> list[str]:
        connection = await asyncpg.connect(url)
        try:
            return [
                await connection.fetchval("SELECT current_user"),
                await connection.fetchval("SELECT count(*) FROM server"),
            ]
        finally:
            await connection.close()

    with temporary_folder("t") as parent:
        folder = parent / name
        for _ in range(2):  # and is found again
            with embedded(folder, TEST_CONFIG) as url:
                settings = migrate_embedded(Settings(), url)
                assert asyncio.run(roles(str(settings.database_url))) == ["gridloop_service", 1]
        assert {path.name for path in parent.iterdir()} == {name}


@pytest.mark.parametrize(("name", "said"), [("a,b", "comma"), ("x" * 100, "too long")])
def test_a_data_folder_in_which_no_socket_can_be_is_refused_with_a_sentence(
    name: str, said: str
) -> None:
    with (
        temporary_folder("t") as parent,
        pytest.raises(PostgresFailed, match=said),
        embedded(parent / name),
    ):
        pass


def test_temporary_files_of_a_service_lie_in_its_folder(tmp_path: Path) -> None:
    before = tempfile.gettempdir()
    with temporary_files_in(tmp_path), tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == tmp_path
        code = "import tempfile; print(tempfile.gettempdir())"
        assert subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip() == str(tmp_path)
    assert tempfile.gettempdir() == before


def test_an_embedded_server_that_does_not_start_says_its_last_words() -> None:
    with temporary_folder("t") as folder:
        with embedded(folder, TEST_CONFIG):
            pass
        with (
            pytest.raises(PostgresFailed) as failed,
            embedded(folder, {**TEST_CONFIG, "shared_buffers": "'a lot'"}),
        ):
            pass
        said = text_of(failed.value)
        assert "shared_buffers" in said
        assert "disk is full" in said
        assert "磁盘已满" in in_language(said, "zh")
        assert "['" not in said, "no list of Python"
