"""Nothing that a client sends is passed over in silence: what a route does not know is refused,
with what it does know.

Bodies are declared with `RequestBody`; the parameters of the query are compared with those of the
route by `known_parameters`, which stands before every route. JSON that no text or number could hold
is refused by `refuse_odd_json`, before the route parses it.
"""

from collections import Counter
from typing import Any

import msgspec
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from service.kit.errors import INVALID, Problem
from sync_protocol import lenient, limits
from sync_protocol.records import KINDS
from sync_protocol.texts import Text

# A record's fields may be as deep as anywhere; they stand in `fields` of the body.
_BODY_DEPTH = limits.MAX_DEPTH + 2
# What watches the service may add what it likes to these.
_WATCHED = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestBody(BaseModel):
    """A JSON body in which an unknown key is refused."""

    model_config = ConfigDict(extra="forbid")


def known_parameters(request: Request) -> None:
    """Refuses parameters of the query that the route does not have, or that are given twice."""
    if not request.scope["query_string"]:
        return
    given = [name for name, _ in request.query_params.multi_items()]
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or route.path in _WATCHED:
        return
    known = parameters_of(route.dependant)
    refuse_unknown(given, known, f"{request.method} {route.path}", Text("query parameter"))
    twice = sorted(name for name, times in Counter(given).items() if times > 1)
    if twice:
        raise Problem(
            INVALID,
            Text(
                "The query gives {names} more than once; give each one once.", names=_listed(twice)
            ),
        )


def parameters_of(dependant: Dependant) -> list[str]:
    """The names of a route's query parameters."""
    below = (name for inner in dependant.dependencies for name in parameters_of(inner))
    return [*dict.fromkeys([*(field.alias for field in dependant.query_params), *below])]


def refuse_unknown(given: Any, known: Any, what: str, thing: Text) -> None:
    """Raises `Problem` that names what is given and not known, and all that is known."""
    unknown = sorted({*given} - {*known})
    if not unknown:
        return
    if known:
        text = Text(
            "{what} has no {thing} {unknown}. It has {known}.",
            what=what,
            thing=thing,
            unknown=_listed(unknown),
            known=_listed(known),
        )
    else:
        text = Text(
            "{what} has no {thing} {unknown}. It has none.",
            what=what,
            thing=thing,
            unknown=_listed(unknown),
        )
    raise Problem(INVALID, text, unknown=unknown, known=list(known))


def refuse_unknown_fields(kind_name: str, fields: dict[str, Any], also: Any = ()) -> None:
    """Refuses fields that a record kind does not have: over REST they are slips of the pen, and not
    what a newer app knows.

    `also`: names that are known all the same.
    """
    kind = KINDS.get(kind_name)
    if kind is not None:
        refuse_unknown(
            {*fields} - {*also}, kind.names, Text("fields: a {kind}", kind=kind.word), Text("field")
        )


def refuse_odd_json(body: bytes) -> None:
    """Refuses JSON with half characters, numbers that are not finite, or nested too deep. What is
    no JSON at all the route refuses.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            value = lenient.parse(body)
        except RecursionError:
            raise Problem(
                INVALID,
                Text(
                    "The body is nested deeper than {max} levels; send less deep values.",
                    max=limits.MAX_DEPTH,
                ),
            ) from None
        except ValueError:
            return
    odd = limits.oddity(value, _BODY_DEPTH)
    if odd is not None:
        raise Problem(
            INVALID, Text("The body {what}; send whole characters and plain numbers.", what=odd)
        )


def _listed(names: Any) -> str:
    return ", ".join(f"‘{limits.showable(str(name)[:60])}’" for name in names)
