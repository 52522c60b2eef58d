"""Databases that nobody needs after the run, and hashes of passwords that protect nothing: quick,
and not safe.
"""

import os
import shutil
from pathlib import Path

import psutil
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from migrations.roles import Roles
from service.runtime.postgres import SERVICE_CONFIG

TEST_CONFIG = {
    **SERVICE_CONFIG,
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
}
TEST_CONFIG |= {"shared_buffers": "'128MB'", "max_wal_size": "'256MB'", "min_wal_size": "'64MB'"}
# What a memory disk must have free, and the machine, for databases to be kept there.
_DISK_FREE, _MEMORY_FREE = 3 << 30, 6 << 30
ROLES = Roles("gridloop_owner", "gridloop_service")
CHEAP = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))


def quickest_disk() -> Path | None:
    """Where to keep databases that nobody needs after the run: in memory if there is plenty, else
    None, the usual folder.

    A thousand tests clone a database each; on a disk that takes longer than most of the tests.
    """
    shared = Path("/dev/shm")
    if "TMPDIR" in os.environ or not (shared.is_dir() and os.access(shared, os.W_OK)):
        return None
    is_plenty = (
        shutil.disk_usage(shared).free > _DISK_FREE
        and psutil.virtual_memory().available > _MEMORY_FREE
    )
    return shared if is_plenty else None
