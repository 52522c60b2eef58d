"""Imports run one way: from domains down to what they stand on, and in no circle."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import migrations
import service
import sync_protocol

ROOT = Path(str(service.__file__)).parents[1]
# What a package may import of this repository.
ALLOWED = {
    "sync_protocol": {"sync_protocol"},
    "service.kit": {"service.kit", "sync_protocol"},
    "service.records": {"service.records", "service.kit", "sync_protocol"},
    # A migration leaves a line in the trail.
    "service.runtime": {
        "service.runtime",
        "service.kit",
        "service.audit",
        "sync_protocol",
        "migrations",
    },
}
# Domains, which nothing that they stand on may know.
DOMAINS = {
    "summaries",
    "loop",
    "problems",
    "households",
    "ties",
    "indicators",
    "visiting",
    "visits",
    "inbox",
    "history",
    "ledgers",
    "articles",
    "app_api",
    "privacy",
    "accounts",
    "imports",
    "cli",
    "conformance",
    "demo",
    "pages",
    "webhooks",
}
BELOW = {
    "kit",
    "runtime",
    "http",
    "identity",
    "organisation",
    "records",
    "cases",
    "writes",
    "tallies",
    "sync",
    "audit",
    "vocabulary",
    "jobs",
}


def modules() -> dict[str, Path]:
    """The modules of the packages, by name."""
    folders = [
        Path(str(package.__file__)).parent for package in (service, sync_protocol, migrations)
    ]
    paths = [
        path for folder in folders for path in folder.rglob("*.py") if "tests" not in path.parts
    ]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }


def imported_at_once(tree: ast.Module) -> Iterator[str]:
    """What a module imports when it is imported itself."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Which module imports which."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, path in known.items():
        wanted = imported_at_once(ast.parse(path.read_text(encoding="utf-8")))
        found[name] = {
            target if target in known else target.rpartition(".")[0] for target in wanted
        } & known.keys() - {name}
    return found


def test_no_module_imports_itself_by_others() -> None:
    assert [*TopologicalSorter(graph()).static_order()]


def test_every_folder_is_a_domain_or_what_they_stand_on() -> None:
    folders = {path.parent.name for path in (ROOT / "service").glob("*/__init__.py")}
    assert folders == DOMAINS | BELOW
    assert not DOMAINS & BELOW


def test_what_others_stand_on_knows_nothing_of_them() -> None:
    wrong = []
    for name, targets in graph().items():
        package = ".".join(name.split(".")[:2])
        allowed = ALLOWED.get(package) or ALLOWED.get(name.split(".")[0])
        for target in targets:
            ours, theirs = name.split("."), target.split(".")
            if allowed is not None and not any(
                target == one or target.startswith(f"{one}.") for one in allowed
            ):
                wrong.append(f"{name} imports {target}")
            if (
                ours[0] == theirs[0] == "service"
                and len(theirs) > 1
                and ours[1:2]
                and ours[1] in BELOW
                and theirs[1] in DOMAINS
            ):
                wrong.append(f"{name} imports {target}")
    assert wrong == []


def test_no_transaction_of_a_push_can_add_a_job() -> None:
    """Adding one notifies, and transactions that notify commit one after the other."""
    assert [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if name.split(".")[1:2] in (["writes"], ["sync"]) and target.startswith("service.jobs")
    ] == []


def test_the_tests_of_the_protocol_need_nothing_but_the_protocol() -> None:
    """They lie beside it so that they may go with it."""
    wrong = []
    for path in sorted((ROOT / "sync_protocol" / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            wrong += [
                f"{path.name} imports {name}"
                for name in names
                if name.split(".")[0] in {"service", "simulator", "migrations", "tests"}
            ]
    assert wrong == []
