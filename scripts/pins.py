"""Writes requirements/run.txt and requirements/dev.txt from pyproject.toml: every version pinned with hashes, no address named."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def compile_pins(name: str, *options: str) -> None:
    """Resolves one file for Python 3.11 and newer on any platform."""
    target = ROOT / "requirements" / name
    command = [sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", "--universal", "--python-version", "3.11"]
    command += ["--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate", "--quiet"]
    subprocess.run([*command, *options, "-o", str(target)], cwd=ROOT, check=True)
    if "://" in target.read_text():
        sys.exit(f"{target} names an address; take it out before committing.")


compile_pins("run.txt")
compile_pins("dev.txt", "--extra", "dev", "-c", "requirements/run.txt")
