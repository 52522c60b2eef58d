"""Writes requirements/*.txt from pyproject.toml: every version pinned with hashes, no address
named.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def compile_pins(
    name: str, *options: str, source: str = "pyproject.toml", given: str | None = None
) -> None:
    """Resolves one file for Python 3.11 and newer on any platform; `given` is what to read where
    the source is `-`.
    """
    target = ROOT / "requirements" / name
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        source,
        "--universal",
        "--python-version",
        "3.11",
    ]
    command += [
        "--generate-hashes",
        "--no-emit-index-url",
        "--no-emit-find-links",
        "--no-header",
        "--no-annotate",
        "--quiet",
    ]
    subprocess.run(
        [*command, *options, "-o", str(target)], cwd=ROOT, check=True, input=given, text=True
    )
    if "://" in target.read_text():
        sys.exit(f"{target} names an address; take it out before committing.")


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def extra(name: str) -> str:
    """The requirements of an extra, without those of the service itself."""
    return "\n".join(PROJECT["project"]["optional-dependencies"][name])


compile_pins("run.txt")
# What builds the package from its sources.
compile_pins(
    "build.txt",
    *("-c", "requirements/run.txt"),
    source="-",
    given="\n".join(PROJECT["build-system"]["requires"]),
)
compile_pins("dev.txt", "--extra", "dev", "-c", "requirements/run.txt")
# Beside those of dev.txt, with the same versions where both need a package.
compile_pins("docs.txt", "-c", "requirements/dev.txt", source="-", given=extra("docs"))
compile_pins("browser.txt", "-c", "requirements/dev.txt", source="-", given=extra("browser"))
# Not beside them: it must not hold back what the service uses.
compile_pins("client.txt", source="-", given=extra("client"))
