"""How processes deal with memory."""

import gc
import os
import sys

_MIB = 1 << 20
# Of mallopt(3); only glibc reads them.
SETTINGS = {
    "MALLOC_MMAP_THRESHOLD_": str(16 * _MIB),
    "MALLOC_TRIM_THRESHOLD_": str(256 * _MIB),
    "MALLOC_TOP_PAD_": str(16 * _MIB),
}


# More objects than come and go with a full house, or with some villages of an import.
_GARBAGE_AFTER = 100_000


def seldom_look_for_garbage() -> None:
    """Has this process look for garbage in circles seldom, and never in what is there now.

    Little of what it does makes circles, and what is loaded stays: to go through all of it again
    and again costs every phone a little, and an import a fifth of its time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_AFTER, 20, 50)


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for what comes next, up to 256 MiB, in this process and
    those that it starts.

    Every push needs some MB for a moment. Given back and asked for anew, each page of them costs a
    fault and is cleared by the system: 6 to 8 % of the service's time for pushes of 500 visits.
    Blocks of 16 MiB and more are given back all the same: of such are the 19 MiB of a password's
    hash, which every thread that makes one would else keep.

    The C library reads its settings when a program begins, so that this one begins anew with them;
    what the environment says already stays.
    """
    if sys.platform == "linux" and not SETTINGS.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], SETTINGS | os.environ)


def without_settings() -> dict[str, str]:
    """The environment for programs that are not the service, such as PostgreSQL, each of whose
    processes would keep as much.
    """
    return {name: value for name, value in os.environ.items() if name not in SETTINGS}
