"""Wraps the prose of the documentation at 100 columns; `--check` only says which files are not.
Tables and code stay as they are.
"""

import re
import sys
import unicodedata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = 100
# What begins a line of its own, and how far the lines that follow it are indented.
_ITEM = re.compile(r"\s*(?:[-*+]|\d+\.) +|\s*> ?")
_ALONE = re.compile(r"\s*$|#|\||<!--|---|\s*\[[^]]+\]: ")
# Between two of these a line may end as well as at a space.
_WIDE_STOP = "。；，、：）”"


def files() -> list[Path]:
    """The documentation that people write; what a benchmark prints is left out."""
    names = (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "sync_protocol/PROTOCOL.md",
        "openapi/app.md",
        "tests/bench/sync_log.md",
    )
    found = [ROOT / name for name in names]
    return [
        path
        for path in (
            *found,
            *(ROOT / "deploy").rglob("*.md"),
            *sorted((ROOT / "docs").rglob("*.md")),
        )
        if path.exists()
    ]


def width(text: str) -> int:
    """How many columns a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def wrapped(text: str) -> str:
    """A text with its paragraphs and items filled anew."""
    lines: list[str] = []
    paragraph: list[str] = []
    in_code = False

    def end() -> None:
        if paragraph:
            lines.extend(_filled(paragraph))
            paragraph.clear()

    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            end()
            in_code = not in_code
            lines.append(line)
        elif in_code or _ALONE.match(line):
            end()
            lines.append(line)
        elif line.endswith("  "):
            paragraph.append(line)
            end()
        else:
            if _ITEM.match(line):
                end()
            paragraph.append(line)
    end()
    return "\n".join(lines) + "\n"


def _filled(paragraph: list[str]) -> list[str]:
    first = paragraph[0]
    item = _ITEM.match(first)
    head = item[0] if item else re.match(r"\s*", first)[0]  # type: ignore[index]
    indent = head if head.strip() == ">" else " " * len(head)
    text = first[len(head) :]
    for line in paragraph[1:]:
        rest = line.strip()
        text += rest if text[-1:] in _WIDE_STOP and width(text[-1:]) == 2 else " " + rest
    lines = [head]
    is_empty = True
    for word in _words(text):
        last = lines[-1]
        if not is_empty and width((last + word).rstrip()) > COLUMNS and not _begins_something(word):
            lines[-1] = last.rstrip()
            lines.append(indent + word)
        else:
            lines[-1] = last + word
        is_empty = False
    lines[-1] = lines[-1].rstrip()
    return lines


def _begins_something(word: str) -> bool:
    """Whether a word at the beginning of a line would be taken for an item or a heading."""
    return _ITEM.match(word) is not None or word.startswith(("#", "|", "<!--"))


def _words(text: str) -> list[str]:
    """The pieces between which a line may end, each with the space behind it; spans of code and
    links stay whole.
    """
    pieces = re.findall(r"(?:`[^`]*`|\]\([^)]*\)|[^\s`])(?:`[^`]*`|\]\([^)]*\)|[^\s`])*\s*", text)
    return [part for piece in pieces for part in _split_at_stops(piece)]


def _split_at_stops(piece: str) -> list[str]:
    if "`" in piece or "](" in piece or "[" in piece:
        # Only behind the last of what must stay whole.
        return (
            [part for part in re.split(rf"(?<=[{_WIDE_STOP}])(?![{_WIDE_STOP}])", piece) if part]
            if _is_safe(piece)
            else [piece]
        )
    return [part for part in re.split(rf"(?<=[{_WIDE_STOP}])(?![{_WIDE_STOP}])", piece) if part]


def _is_safe(piece: str) -> bool:
    """Whether no stop stands within code or a link."""
    inside = "".join(re.findall(r"`[^`]*`|\[[^\]]*\]\([^)]*\)|\[[^\]]*$", piece))
    return not any(stop in inside for stop in _WIDE_STOP)


def main() -> int:
    """Wraps all files, or says which are not."""
    wrong = [
        path
        for path in files()
        if wrapped(path.read_text(encoding="utf-8")) != path.read_text(encoding="utf-8")
    ]
    for path in wrong:
        if "--check" in sys.argv:
            print(
                f"{path.relative_to(ROOT)} is not wrapped at {COLUMNS} columns; run python"
                " scripts/wrap_docs.py"
            )
        else:
            path.write_text(wrapped(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 1 if wrong and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
