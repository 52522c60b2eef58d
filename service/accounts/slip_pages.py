"""Slips as PDF pages to print on A4 and cut: ten on a page, each for one person."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFError, TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

from service.accounts.slips import Slip, role_of
from sync_protocol.periods import local_day

_ACROSS, _DOWN = 2, 5
_PAPER_WIDTH, _PAPER_HEIGHT = A4
_WIDTH, _HEIGHT = _PAPER_WIDTH / _ACROSS, _PAPER_HEIGHT / _DOWN
_MARGIN = 22.0  # points: what a printer leaves white, and a cut may take
# Every reader of PDF files has, or takes, a font of its own for this name; nothing is embedded.
_READERS_FONT = "STSong-Light"
_CODES, _LATIN = "Courier-Bold", "Helvetica"
# Where TrueType fonts with Chinese lie, as systems name them.
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_FONTS = (
    *("NotoSansSC*.ttf", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "msyh.ttc", "simsun.ttc", "simhei.ttf"),
)
_UNKNOWN = "〓"  # for a character that the font does not have
_STEPS = (
    "1. 打开 App 或网页，选“忘记密码”；2. 输入工号和一次性口令；3. 设置自己的密码。"
    "口令只能用一次，请勿转交他人。"
)
_STEPS_EN = (
    "In the app choose ‘forgotten password’, enter staff code and code, then choose a password of"
    " your own. The code works once; give it to nobody."
)


class FontUnfit(Exception):
    """A file that is no font which can be embedded."""


def font_here() -> Path | None:
    """A font with Chinese that this machine has, if any."""
    for folder in _FOLDERS:
        for name in _FONTS:
            for found in sorted(Path(folder).expanduser().rglob(name)):
                try:
                    refuse_unfit(found)
                except FontUnfit:
                    continue
                return found
    return None


def write_pages(
    path: Path, slips: Sequence[Slip], expires_at: datetime, font: Path | None = None
) -> None:
    """Writes slips; of a TrueType `font` the characters that are used are embedded, without one
    the reader's own font for Chinese is used. Raises `FontUnfit`.
    """
    writing = _font(font)
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setTitle("登录口令 Sign-in codes")
    canvas.setAuthor("Gridloop")
    until = local_day(expires_at).isoformat()
    for place, slip in enumerate(slips):
        at = place % (_ACROSS * _DOWN)
        if at == 0:
            if place:
                canvas.showPage()
            _cut_lines(canvas)
        column, row = at % _ACROSS, at // _ACROSS
        left, top = column * _WIDTH + _MARGIN, _PAPER_HEIGHT - row * _HEIGHT - _MARGIN
        for paragraph, below in _parts(slip, until, writing):
            _, height = paragraph.wrap(_WIDTH - 2 * _MARGIN, _HEIGHT)
            top -= height
            paragraph.drawOn(canvas, left, top)
            top -= below
    canvas.save()


def refuse_unfit(font: Path | None) -> None:
    """Raises `FontUnfit` for what cannot be embedded."""
    _font(font)


class _Writing(NamedTuple):
    """A font, and whether it has a character."""

    font: str
    has: Callable[[str], bool]

    def __call__(self, text: str) -> str:
        """A text as the markup of a paragraph: letters and digits in a Latin font, which every
        reader has, and a sign for what no font has.
        """
        found = []
        for is_latin, run in groupby(text, self._is_latin):
            part = "".join(char if is_latin or self.has(char) else _UNKNOWN for char in run)
            found.append(f'<font name="{_LATIN}">{escape(part)}</font>' if is_latin else part)
        return "".join(found)

    def _is_latin(self, char: str) -> bool:
        return char.isascii() or (not self.has(char) and bool(char.encode("cp1252", "ignore")))


def _font(file: Path | None) -> _Writing:
    if file is None:
        pdfmetrics.registerFont(UnicodeCIDFont(_READERS_FONT))
        return _Writing(_READERS_FONT, lambda char: char <= "\uffff")
    try:
        found = TTFont("slips", str(file))
    except (TTFError, OSError):
        raise FontUnfit(str(file)) from None
    pdfmetrics.registerFont(found)
    glyphs = found.face.charToGlyph
    return _Writing("slips", lambda char: ord(char) in glyphs)


def _cut_lines(canvas: Any) -> None:
    canvas.setDash(3, 3)
    canvas.setLineWidth(0.5)
    canvas.setStrokeGray(0.5)
    for number in range(1, _DOWN):
        canvas.line(0, number * _HEIGHT, _PAPER_WIDTH, number * _HEIGHT)
    for number in range(1, _ACROSS):
        canvas.line(number * _WIDTH, 0, number * _WIDTH, _PAPER_HEIGHT)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _parts(slip: Slip, until: str, writing: _Writing) -> Iterator[tuple[Any, float]]:
    """The paragraphs of a slip, each with the white below it."""

    def style(size: float, gray: float = 0, leading: float = 0) -> ParagraphStyle:
        return ParagraphStyle(
            f"{size}",
            fontName=writing.font,
            fontSize=size,
            leading=(leading or size) * 1.3,
            textColor=Color(gray, gray, gray),
            wordWrap="CJK",
        )

    def code(text: str, size: float) -> str:
        return f'<font name="{_CODES}" size="{size}">{escape(text)}</font>'

    # No longer than what leaves room for the rest.
    yield Paragraph(writing(_short(slip.place, 100)), style(8, 0.3)), 3
    yield Paragraph(writing(_short(f"{slip.name}　{role_of(slip)}", 50)), style(13)), 5
    yield Paragraph(f"{writing('工号 Staff code: ')}{code(slip.staff_code, 11)}", style(9)), 3
    yield Paragraph(f"{writing('一次性口令 Code: ')}{code(slip.code, 14)}", style(9, leading=14)), 3
    yield Paragraph(f"{writing('有效期至 Good until: ')}{code(until, 9)}", style(9)), 5
    yield Paragraph(writing(_STEPS), style(7.5)), 2
    yield Paragraph(writing(_STEPS_EN), style(6, 0.3)), 0
