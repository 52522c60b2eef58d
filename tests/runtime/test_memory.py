"""Freed memory is used again in place of asking the system for new pages."""

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from service.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    parts = [bytes(3_000_000) for _ in range(30)]
use()
before = faults()
for _ in range(20):
    use()
print(faults() - before)
"""


def faults(how: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", _FAULTS, how], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    # calloc of kept memory writes zeros itself, without a fault.
    assert faults("keep") < faults("let go") / 4
