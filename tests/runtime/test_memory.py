"""Freed memory is used again in place of asking the system for new pages."""

import json
import os
import platform
import subprocess
import sys

import pytest

from service.runtime.memory import SETTINGS, without_settings

_FAULTS = """
import resource, sys
from service.runtime.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
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
# What a process that this one starts finds in its environment.
_BEGUN = """
import json, os, subprocess, sys
from service.runtime.memory import keep_freed_memory
if sys.argv[1:]:
    print(json.dumps(dict(os.environ)))
else:
    first = os.environ.setdefault("FIRST", str(os.getpid()))
    keep_freed_memory()
    assert first == str(os.getpid())
    subprocess.run([sys.executable, "-c", sys.orig_argv[2], "child"], check=True)
"""

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody reads them")


def run(code: str, *arguments: str, **more: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=clean | more,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_freed_memory_is_used_again() -> None:
    # calloc of kept memory writes zeros itself, without a fault.
    assert int(run(_FAULTS, "keep")) < int(run(_FAULTS, "let go")) / 4


@on_linux
def test_a_program_begins_anew_once_and_hands_the_settings_on() -> None:
    found = json.loads(run(_BEGUN))
    assert found.items() >= SETTINGS.items()


@on_linux
def test_what_an_operator_set_stays() -> None:
    mine = {"MALLOC_TOP_PAD_": "4096"}
    found = json.loads(run(_BEGUN, **mine))
    assert found.items() >= (SETTINGS | mine).items()


def test_other_programs_do_not_get_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    assert without_settings() == {
        name: value for name, value in os.environ.items() if name not in SETTINGS
    }
    assert "PATH" in without_settings()
