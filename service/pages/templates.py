"""The templates, and what each of them may use: texts of the catalogue, numbers, days, links."""

from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from service.kit.localization import Language, in_language
from service.pages import dates
from service.pages.assets import asset
from service.pages.periods import changes
from sync_protocol.periods import local_day
from sync_protocol.texts import Text

FOLDER = Path(__file__).parent / "templates"
LANGUAGES: tuple[tuple[Language, str], ...] = (("zh", "中文"), ("en", "English"))


@cache
def environment() -> Environment:
    """The one environment: whatever is put into a page is escaped, and a name that is not there is
    an error.
    """
    found = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    found.globals |= {
        "asset": asset,
        "link": link,
        "local_day": local_day,
        "languages": LANGUAGES,
        "day_name": dates.day_name,
        "days_of": dates.days_of,
        "moment_name": dates.moment_name,
        "period_name": dates.period_name,
        "short_name": dates.short_name,
        "changes": changes,
    }
    return found


def rendered(name: str, language: Language, /, **values: Any) -> str:
    """A page in a language."""

    def text(id: str, **params: Any) -> str:
        """A sentence of the catalogue, which stands in the template; or a text from elsewhere."""
        return in_language(Text(id, **params) if params or type(id) is str else id, language)

    return environment().get_template(name).render(_=text, language=language, **values)


def link(path: str, **parameters: Any) -> str:
    """A path with those parameters that are something."""
    given = {name: value for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path
