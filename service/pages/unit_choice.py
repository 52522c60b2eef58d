"""The unit of a form: typed as its code, or as its name, with the unit above in front of it where
several are called alike. It works without JavaScript; the list beside the field only saves typing.
"""

import re

from service.kit.errors import INVALID, Problem
from service.organisation import routes as organisation
from service.pages import name_queries as queries
from service.pages.forms import Typed
from service.pages.page import Visit
from sync_protocol.texts import Text

# So many of those that it could be are named.
_NAMED = 8
_MOST = 600
_BETWEEN = re.compile(r"[\s·/>、（）()]+")
_CODE = re.compile(r"\d{4,15}")


async def with_unit(visit: Visit, typed: Typed, field: str) -> Typed:
    """The form with the code of the unit in place of what was typed; raises `Problem` with those
    that it could be, where that is none or several.
    """
    code = await _code_of(visit, typed.get(field))
    return typed._replace(fields={**typed.fields, field: [code]})


async def _code_of(visit: Visit, text: str) -> str:
    words = [word for word in _BETWEEN.split(text) if word]
    codes = [word for word in words if _CODE.fullmatch(word)]
    if not words or text.isdigit():
        return text
    if len(codes) == 1:
        return codes[0]
    *above, name = words
    # A name may itself have a blank in it.
    found = await _called(visit, text, []) or await _called(visit, name, above)
    if len(found) == 1:
        return found[0]
    if found:
        raise Problem(
            INVALID,
            Text(
                "{count} units are called ‘{name}’: {units}. Type the code of the one, or the unit"
                " above in front of the name.",
                count=len(found),
                name=text[:60],
                units=await _described(visit, found),
            ),
        )
    near = await _near(visit, name)
    if near:
        units = await _described(visit, near)
        raise Problem(
            INVALID,
            Text(
                "No unit is called ‘{name}’; these come near: {units}. Type the whole name, or the"
                " code.",
                name=text[:60],
                units=units,
            ),
        )
    raise Problem(
        INVALID,
        Text(
            "No unit that you administer is called ‘{name}’; look it up in the tree of units, and"
            " type its name or code.",
            name=text[:60],
        ),
    )


async def _called(visit: Visit, name: str, above: list[str]) -> list[str]:
    """The open units of this name that lie under units whose names have these words in them."""
    caller = visit.to("list_units")
    ranges = caller.tree.several(caller.units_or_none(), caller.today)
    async with visit.state.database.reading() as connection:
        rows = await queries.units_called(connection, ranges, name, caller.today, _MOST)
        codes = [row["code"] for row in rows]
        if not above:
            return codes
        chains = {code: caller.tree.above(code, caller.today) for code in codes}
        lines = {one for chain in chains.values() for one in chain}
        names = {row["code"]: row["name"] for row in await queries.unit_names(connection, [*lines])}
    return [
        code
        for code, chain in chains.items()
        if all(any(word in names.get(one, "") for one in chain) for word in above)
    ]


async def _near(visit: Visit, name: str) -> list[str]:
    """Open units whose name has the text in it."""
    caller = visit.to("list_units")
    page = await organisation.units(visit.request, caller, text=name[:60], limit=_NAMED)
    return [one.code for one in page.items if one.closed is None]


async def _described(visit: Visit, codes: list[str]) -> str:
    """Units with those above them and their codes, as they can be typed; the first ones."""
    caller = visit.caller
    some = codes[:_NAMED]
    chains = {code: [code, *caller.tree.above(code, caller.today)][:3] for code in some}
    async with visit.state.database.reading() as connection:
        lines = {one for chain in chains.values() for one in chain}
        rows = await queries.unit_names(connection, [*lines])
    names = {row["code"]: row["name"] for row in rows}
    shown = [
        f"{' · '.join(names.get(one, one) for one in reversed(chain))}（{code}）"
        for code, chain in chains.items()
    ]
    return "；".join([*shown, *(["…"] if len(codes) > len(some) else [])])
