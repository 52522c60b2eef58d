"""Values that broke systems of this kind, for every field, header and parameter of the sync and of
REST.
"""

import json
from typing import Any

from hypothesis import strategies as st

# Stands in a text where a number is meant that Python's encoder does not write.
RAW = "RAW-JSON:"


def nested(depth: int) -> str:
    return RAW + "[" * depth + "1" + "]" * depth


SEALED = "gl1.00000000." + "A" * 40
TEXTS = [
    *("\ud83d", "a\udc00b", "\0", "a\0b", "\ufffe", "\u202e", "\r\n", "", " ", "　"),
    *("ᠪᠠᠲᠤ\u202fᠶᠢᠨ\u180e\u180b", "𠀀", "e\u0301", "ﬁ①", "é" * 300, "字" * 70_000),
    *(
        SEALED,
        '"' + SEALED + '"',
        "gl1.",
        "@W1",
        "#1502",
        ":",
        "%s%n{0}{x}",
        "${jndi:ldap://x}",
        "../../etc/passwd",
    ),
    *(
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "\\",
        "\\N",
        "\\u0000",
        "\\ud83d",
        "\t",
        '"}',
        "{",
        "NaN",
        "null",
        "1e400",
    ),
    *(
        "0192F3A1-0000-7000-8000-000000000001",
        "0192f3a1-0000-7000-8000-00000000000",
        "150202100200001",
        "2025-W53",
        "2026-13",
    ),
    *(
        "2026-11-20T09:00Z",
        "1970-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-02-30T09:00:00Z",
    ),
]
NUMBERS = [
    *(
        RAW + "1e400",
        RAW + "-1e400",
        RAW + "NaN",
        RAW + "Infinity",
        RAW + "9" * 400,
        RAW + "9" * 5000,
        RAW + "-0.0",
    ),
    *(
        31.0,
        0.5,
        1e308,
        2**31,
        2**53,
        2**53 + 1,
        2**63 - 1,
        2**63,
        -(2**63),
        10**30,
        -1,
        0,
        True,
        False,
    ),
]
SHAPES: list[Any] = [
    *(
        None,
        [],
        {},
        [[]],
        {"": {}},
        {"a\0": 1},
        {"\ud83d": 1},
        {"add": ["x", "x"]},
        {"add": None},
        {"remove": [None]},
    ),
    *(
        {"lat": 40, "lon": 109},
        {"lat": RAW + "1e400", "lon": 0},
        {"lat": 40, "lon": 109, "accuracy": -1, "z": {}},
    ),
    *(
        nested(15),
        nested(25),
        nested(300),
        nested(950),
        nested(20_000),
        ["x" * 9_000],
        {"k" * 300: "v"},
    ),
]

odd_texts = st.sampled_from(TEXTS) | st.text(max_size=40)
odd_values = st.sampled_from([*TEXTS, *NUMBERS, *SHAPES]) | st.text(max_size=40)


def as_json(value: Any) -> bytes:
    """The body as a client would write it that does not care."""
    text = json.dumps(value)
    while (at := text.find(f'"{RAW}')) >= 0:
        end = text.index('"', at + 1)
        text = text[:at] + text[at + 1 + len(RAW) : end] + text[end + 1 :]
    return text.encode("utf-8", "surrogatepass")
