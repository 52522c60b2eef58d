"""docs/security.md: no id is missing or twice, and what it names as proof exists."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
STATES = ("met", "not met", "not ours")
# The requirements of OWASP ASVS 5.0 in levels 1 (with a star) and 2, by section.
ASVS = """
1.1: 1 2; 1.2: 1* 2* 3* 4* 5* 6 7 8 9; 1.3: 1* 2* 3 4 5 6 7 8 9 10 11; 1.4: 1 2 3; 1.5: 1*
2; 2.1: 1* 2 3; 2.2: 1* 2* 3; 2.3: 1* 2 3 4; 2.4: 1; 3.2: 1* 2*; 3.3: 1* 2 3 4; 3.4: 1* 2* 3
4 5 6; 3.5: 1* 2* 3* 4 5; 3.7: 1 2; 4.1: 1* 2 3; 4.2: 1; 4.3: 1 2; 4.4: 1* 2 3 4; 5.1: 1;
5.2: 1* 2* 3; 5.3: 1* 2*; 5.4: 1 2 3; 6.1: 1* 2 3; 6.2: 1* 2* 3* 4* 5* 6* 7* 8* 9 10 11 12;
6.3: 1* 2* 3 4; 6.4: 1* 2* 3 4; 6.5: 1 2 3 4 5; 6.6: 1 2 3; 6.8: 1 2 3 4; 7.1: 1 2 3; 7.2:
1* 2* 3* 4*; 7.3: 1 2; 7.4: 1* 2* 3 4 5; 7.5: 1 2; 7.6: 1 2; 8.1: 1* 2; 8.2: 1* 2* 3; 8.3:
1*; 8.4: 1; 9.1: 1* 2* 3*; 9.2: 1* 2 3 4; 10.1: 1 2; 10.2: 1 2; 10.3: 1 2 3 4; 10.4: 1* 2*
3* 4* 5* 6 7 8 9 10 11; 10.5: 1 2 3 4 5; 10.6: 1 2; 10.7: 1 2 3; 11.1: 1 2; 11.2: 1 2 3;
11.3: 1* 2* 3; 11.4: 1* 2 3 4; 11.5: 1; 11.6: 1; 12.1: 1* 2 3; 12.2: 1* 2*; 12.3: 1 2 3 4;
13.1: 1; 13.2: 1 2 3 4 5; 13.3: 1 2; 13.4: 1* 2 3 4 5; 14.1: 1 2; 14.2: 1* 2 3 4; 14.3: 1* 2
3; 15.1: 1* 2 3; 15.2: 1* 2 3; 15.3: 1* 2 3 4 5 6 7; 16.1: 1; 16.2: 1 2 3 4 5; 16.3: 1 2 3
4; 16.4: 1 2 3; 16.5: 1 2 3; 17.1: 1; 17.2: 1 2 3 4; 17.3: 1 2
"""
MLPS = (
    "8.1.2.2 a b; 8.1.4.1 a b c d; 8.1.4.2 a b c d e f g; 8.1.4.3 a b c d; 8.1.4.4 a b c d e f;"
    " 8.1.4.5; 8.1.4.6;"
    " 8.1.4.7 a b; 8.1.4.8 a b; 8.1.4.9 a b c; 8.1.4.10 a b; 8.1.4.11 a b; 8.1.5.1; 8.1.5.2;"
    " 8.1.5.3; 8.1.5.4"
)
REVIEW = "A 4; B 6; C 7; D 7; E 2; F 4; G 7; P 3"


def asvs_levels() -> dict[str, str]:
    """Each requirement's level."""
    found = {}
    for section in ASVS.replace("\n", " ").split(";"):
        name, numbers = section.split(":")
        for number in numbers.split():
            found[f"{name.strip()}.{number.rstrip('*')}"] = "1" if number.endswith("*") else "2"
    return found


def mlps_ids() -> list[str]:
    """The requirements of 等保 that are answered."""
    parts = [item.split() for item in MLPS.split(";")]
    return [
        f"{clause} {letter}".strip() for clause, *letters in parts for letter in letters or [""]
    ]


def review_ids() -> list[str]:
    """The rows of the review."""
    groups = [item.split() for item in REVIEW.split(";")]
    return [f"{letter}{number}" for letter, count in groups for number in range(1, int(count) + 1)]


def rows_of(title: str) -> list[list[str]]:
    """The rows of the tables with ids in the part of the page under a heading."""
    part = re.split(r"^## ", PAGE, flags=re.M)
    text = next(item for item in part if item.startswith(title))
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("| ")
    ]
    return [row for row in rows if re.match(r"(?:\d+\.\d+\.|API\d|[A-Z]\d)", row[0])]


PARTS = {
    "OWASP ASVS": [*asvs_levels()],
    "OWASP API": [f"API{number}" for number in range(1, 11)],
    "等保": mlps_ids(),
    "What a review": review_ids(),
}


@pytest.mark.parametrize("title", PARTS)
def test_no_id_is_missing_or_twice_or_in_another_order(title: str) -> None:
    assert [row[0] for row in rows_of(title)] == PARTS[title]


@pytest.mark.parametrize("title", PARTS)
def test_every_row_has_a_state_and_says_where_or_why(title: str) -> None:
    for row in rows_of(title):
        state, where = row[-2:]
        assert state in STATES, row
        assert where, row
        assert state != "met" or "`" in where or "see " in where or "” above" in where, row


def test_the_levels_and_the_numbers_of_each_state_are_right() -> None:
    rows = rows_of("OWASP ASVS")
    assert {row[0]: row[1] for row in rows} == asvs_levels()
    counted = Counter(
        (row[1], "none here" if row[4].startswith("none here") else row[3]) for row in rows
    )
    for name, state in (
        ("met", "met"),
        ("not met", "not met"),
        ("not ours", "not ours"),
        ("not ours: none here", "none here"),
    ):
        assert f"| {name} | {counted['1', state]} | {counted['2', state]} |" in PAGE


def test_every_file_and_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`([^`]+)`", PAGE))
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("tests", "sync_protocol/tests")
        for path in (ROOT / folder).rglob("*.py")
    )
    tests = set(re.findall(r"def (test_\w+)\(", sources))
    assert {name for name in named if re.fullmatch(r"test_\w+", name)} - tests == set()
    files = {
        name
        for name in named
        if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*/?", name) and ("/" in name or "." in name)
    }
    files -= {name for name in files if re.fullmatch(r"v?\d[\d.]*", name)}
    assert {name for name in files if not (ROOT / name).exists()} == set()
    assert len(files) > 50
