"""The documentation: it builds into a site, its links work there and in the repository, and what it
names exists.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from service.kit.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md")]
    + [
        ROOT / name
        for name in (
            "README.md",
            "CONTRIBUTING.md",
            "CHANGELOG.md",
            "sync_protocol/PROTOCOL.md",
            "openapi/app.md",
        )
    ]
)
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def build(site: Path, config: Path = ROOT / "mkdocs.yml") -> subprocess.CompletedProcess[str]:
    """Builds the site as `make docs` does; with `--quiet` no warning would count."""
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "-f",
        str(config),
        "-d",
        str(site),
    ]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def text_of(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def links_in(page: Path) -> list[str]:
    """The targets of a page's links that lie in the repository."""
    prose = re.sub(r"`[^`\n]+`", "", text_of(page))
    return [
        target
        for target in re.findall(r"\]\(([^)\s]+)\)", prose)
        if not target.startswith(("http:", "https:", "mailto:"))
    ]


def anchors_of(page: Path) -> set[str]:
    """The anchors that a repository's view makes of a page's headings."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE):
        words = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(words.strip().replace(" ", "-"))
    return found


def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > len(PAGES)
    for page in pages:
        loaded = re.findall(
            r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"((?:https?:)?//[^\"]+)",
            page.read_text(encoding="utf-8"),
        )
        assert loaded == [], page


@pytest.mark.parametrize(
    "target", ["absent.md", "glossary.md#absent", "../service/absent.py", "#absent", "/absent"]
)
def test_a_broken_link_ends_the_build(tmp_path: Path, target: str) -> None:
    for name in ("docs", "scripts", "sync_protocol", "openapi", "deploy"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.py[co]", "__pycache__")
        )
    for page in (ROOT / "tests" / "bench").glob("*.md"):
        (tmp_path / "tests" / "bench").mkdir(parents=True, exist_ok=True)
        shutil.copy(page, tmp_path / "tests" / "bench")
    (tmp_path / "migrations").mkdir()
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE",
        "mkdocs.yml",
        "migrations/README.md",
    ):
        shutil.copy(ROOT / name, tmp_path / name)
    with (tmp_path / "docs" / "architecture.md").open("a", encoding="utf-8") as page_file:
        page_file.write(f"\nSee [this]({target}).\n")
    done = build(tmp_path / "site", tmp_path / "mkdocs.yml")
    assert done.returncode != 0
    assert "architecture.md" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_links_work_in_the_repository(name: str) -> None:
    page = ROOT / name
    for link in links_in(page):
        path, _, anchor = link.partition("#")
        target = Path(os.path.normpath(page.parent / path)) if path else page
        assert target.is_file(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors_of(target), link


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in NAMES
        if not name.endswith(("security.md", "CHANGELOG.md", "PROTOCOL.md", "app.md"))
    ],
)
def test_files_that_are_named_exist(name: str) -> None:
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    named = set(re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", text_of(ROOT / name)))
    files = {path for path in named if path.split("/")[0] in folders and "/" in path}
    files -= {path for path in files if path.startswith("build/")}
    assert {path for path in files if not (ROOT / path).exists()} == set()


def test_the_write_path_is_no_longer_than_a_reader_can_follow() -> None:
    page = text_of(ROOT / "docs" / "write-path.md")
    named = {*re.findall(r"`((?:service|sync_protocol)/[\w/]+\.py)`", page)}
    steps = re.findall(r"^\| `([\w/]+\.py)` \|", page, re.MULTILINE)
    assert len(steps) == len({*steps}) <= 15
    assert named == {*steps}


def test_prose_is_wrapped() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/wrap_docs.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_every_promise_has_a_part_with_tests() -> None:
    parts = re.split(
        r"^## ", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    promises = [part for part in parts if part.startswith("Promise ")]
    assert [int(part.split(":")[0].removeprefix("Promise ")) for part in promises] == [
        *range(1, 15)
    ]
    for part in promises:
        assert all(word in part for word in ("**What.**", "**Why.**", "**Tests.**")), part
        assert re.search(r"`tests/[\w/]+\.py`", part.split("**Tests.**")[1]), part


def test_the_table_of_settings_has_each_with_its_default() -> None:
    page = (ROOT / "docs" / "operations" / "running.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(GRIDLOOP_\w+)` \| (.+?) \|", page, re.MULTILINE))
    assert rows.keys() == {PREFIX + name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        said = {"None": "none", "False": "false", "": "empty"}
        assert rows[PREFIX + name.upper()].strip("`") == said.get(
            str(field.default), str(field.default)
        ), name
