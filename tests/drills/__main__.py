"""All drills one after the other, and a table of what came of them; ends with 1 if one missed what
is wanted.

`python -m tests.drills [NAME …]`.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

FOLDER = Path(__file__).parent
# Those that take long come last.
LONG = ("disk_full", "kills", "check_large", "two_releases")
DRILLS = (
    *sorted({path.stem for path in FOLDER.glob("[a-z]*.py")} - {"common", *LONG}),
    *LONG,
)
# None may take longer, seconds.
LONGEST_S = 400


def run(name: str, folder: Path) -> tuple[str, float, str]:
    """Runs a drill; what came of it, seconds, and its figures."""
    if (
        getattr(importlib.import_module(f"tests.drills.{name}"), "NEEDS_ROOT", False)
        and os.geteuid() != 0
    ):
        return "left out", 0.0, "needs root"
    result = folder / f"{name}.json"
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"tests.drills.{name}", "--result", str(result)],
            timeout=LONGEST_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "MISSED", time.monotonic() - began, f"not over after {LONGEST_S} s"
    if not result.exists():
        return "MISSED", time.monotonic() - began, f"ended with {done.returncode}"
    found = json.loads(result.read_text())
    return (
        ("MISSED" if found["missed"] else "met"),
        found["seconds"],
        "; ".join(found["missed"] or found["figures"]),
    )


def main() -> None:
    """Runs them all, or those that are named."""
    console = Console(width=max(140, int(os.environ.get("COLUMNS", "0"))))
    table = Table(title="Drills", title_justify="left")
    table.add_column("drill")
    table.add_column("result")
    table.add_column("seconds", justify="right")
    table.add_column("figures")
    results = []
    with tempfile.TemporaryDirectory(prefix="gridloop-drills-") as folder:
        for name in sys.argv[1:] or DRILLS:
            console.rule(name)
            result, seconds, figures = run(name, Path(folder))
            results.append((result, seconds))
            table.add_row(name, result, f"{seconds:.0f}", figures)
    console.print(table, highlight=False)
    console.print(
        f"{sum(seconds for _, seconds in results) / 60:.1f} minutes in all", highlight=False
    )
    sys.exit(1 if any(result == "MISSED" for result, _ in results) else 0)


if __name__ == "__main__":
    main()
