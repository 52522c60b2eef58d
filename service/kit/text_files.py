"""Text files as offices send them: in which encoding they are, and what parts their cells."""

import codecs
import csv

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(content: bytes) -> str | None:
    """The text of a file: in UTF-8 or UTF-16 with a mark, in UTF-8 without, or else in GB18030;
    None if it is in none of them.

    What is UTF-8 by chance is rare beyond a word or two; of Chinese in GB18030 hardly any two
    characters are.
    """
    encoding = next((name for mark, name in _BOMS if content.startswith(mark)), "utf-8")
    for tried in dict.fromkeys((encoding, "gb18030")):
        try:
            return content.decode(tried)
        except UnicodeDecodeError:
            continue
    return None


def delimiter_of(text: str) -> str:
    """Commas, tabs or semicolons: what parts the first rows into the same number of cells, the most
    of them.
    """
    lines = [line for line in text[:20_000].splitlines() if line.strip()][:20]
    best, most = ",", 0
    for mark in (",", "\t", ";", "，"):
        counts = [len(row) for row in csv.reader(lines, delimiter=mark)]
        usual = max(set(counts), key=counts.count) if counts else 0
        if usual > 1 and usual * counts.count(usual) > most:
            best, most = mark, usual * counts.count(usual)
    return best
