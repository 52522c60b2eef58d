"""Tests use what others may use: no private attribute of the code that they test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What may not do without, file by file: the names, or any, and why.
ANY = None
ALLOWED: dict[str, tuple[set[str] | None, str]] = {
    "tests/simulation/mutants.py": (ANY, "breaks rules on purpose, wherever they stand"),
    "tests/writes/test_batched_equals_serial.py": (
        {"_database", "_push", "_settings"},
        "says itself which exchanges are committed together, which else only chance says",
    ),
    "tests/kit/test_faults.py": (
        {"_locked_grids", "_push", "_pushes", "_waiting"},
        "counts which exchanges were committed together",
    ),
    "tests/bench/reads.py": (
        {"_execute"},
        "asyncpg tells nobody which statements the connections of a pool send",
    ),
}
# Private by their form, but told to everybody by the standard library.
PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
SETTERS = {"delattr", "getattr", "hasattr", "object", "patch", "setattr"}


def is_private(name: str) -> bool:
    """Whether a name, or one behind a point of it, is private."""
    return any(
        part.startswith("_") and not part.startswith("__") and part not in PUBLIC
        for part in name.split(".")
    )


def private_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines and names of what belongs to others and is private; a class may use its own."""
    own = {
        id(node)
        for cls in ast.walk(tree)
        if isinstance(cls, ast.ClassDef)
        for node in ast.walk(cls)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ("cls", "self")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in own and is_private(node.attr):
            yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, item.name) for item in node.names if is_private(item.name))
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            for argument in node.args if called in SETTERS else ():
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    for name in (argument.value,) if is_private(argument.value) else ():
                        yield node.lineno, name


def test_no_test_uses_what_is_private_to_the_code() -> None:
    found = []
    for folder in ("tests", "sync_protocol/tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            allowed, _ = ALLOWED.get(name, (set(), ""))
            found += [
                f"{name}:{line}: {used}"
                for line, used in private_names(ast.parse(path.read_text(encoding="utf-8")))
                if allowed is not ANY and used not in allowed
            ]
    assert found == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("store._db", ["_db"]),
        ("from service.runtime.postgres import _start", ["_start"]),
        ("monkeypatch.setattr(Store, '_take', 1)", ["_take"]),
        ("patch('service.kit.paging._page')", ["service.kit.paging._page"]),
        ("def take(self): self._db", ["_db"]),
        ("class Phone:\n    def take(self): self._db, self.store._db", ["_db"]),
        ("row._replace(rev=1), os._exit(0), item.__dict__, __name__", []),
    ],
)
def test_every_way_to_a_private_name_is_noticed(source: str, found: list[str]) -> None:
    assert [name for _, name in private_names(ast.parse(source))] == found
