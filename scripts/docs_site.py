"""Hooks of MkDocs: pages that lie outside docs/, and links that are written for the repository.

A link is written as it works in the repository. Where its target is a page of the site it is turned
into the page's place there; any other is left as it is, and MkDocs says that it is broken.
"""

import posixpath
import re
from collections.abc import Callable
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
MEASURED = ("check", "day", "fairness", "reads", "sync", "sync_log")
# Files of the repository outside docs/, and their places in the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "license.md",
    "sync_protocol/PROTOCOL.md": "protocol.md",
    "openapi/app.md": "app.md",
    "deploy/nginx/README.md": "operations/nginx.md",
    "migrations/README.md": "operations/migrations.md",
    **{f"tests/bench/{name}.md": f"performance/{name}.md" for name in MEASURED},
}
_SOURCE = {place: source for source, place in OUTSIDE.items()}
# Blocks and spans of code, in which nothing is a link.
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside docs/."""
    for source, place in OUTSIDE.items():
        path = ROOT / source
        if path.suffix == ".md":
            files.append(File.generated(config, place, abs_src_path=str(path)))
        else:
            files.append(
                File.generated(
                    config,
                    place,
                    content=f"# {source.title()}\n\n```\n{path.read_text(encoding='utf-8')}```\n",
                )
            )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links of the repository into links of the site."""
    place = page.file.src_uri
    source = _SOURCE.get(place, f"docs/{place}")
    return links_changed(markdown, lambda target: _in_site(target, source, place, files))


def links_changed(markdown: str, change: Callable[[str], str]) -> str:
    """A text with the targets of its links changed, fragments left out and left alone."""
    parts = _CODE.split(markdown)
    return "".join(
        part if at % 2 else _LINK.sub(lambda found: change(found[1]), part)
        for at, part in enumerate(parts)
    )


def _in_site(target: str, source: str, place: str, files: Files) -> str:
    if ":" in target:
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    found = OUTSIDE.get(path, path.removeprefix("docs/") if path.startswith("docs/") else None)
    if found is None or files.get_file_from_path(found) is None:
        return target
    return posixpath.relpath(found, posixpath.dirname(place) or ".")
