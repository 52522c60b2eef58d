"""`python -m service`, which is `gridloop`."""

import gc
import sys

from service.runtime.memory import keep_freed_memory


def main() -> None:
    """Runs the command; the service begins anew once, before it loads anything."""
    if sys.argv[1:2] == ["serve"]:
        keep_freed_memory()
    # Nothing of what is loaded is garbage; looking for some takes a quarter of the time.
    gc.disable()
    from service.cli.app import app

    gc.enable()
    app()


if __name__ == "__main__":
    main()
