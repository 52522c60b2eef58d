"""What extends uvicorn goes by the names that uvicorn shows: a private one may go with any release,
and an own one of the same name would be taken for it.
"""

import ast
import inspect
import re

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.connections import LimitedConnection
from service.http.forwarded import Forwarded
from service.http.load_shedding import LoadSheddingProtocol
from service.runtime.reuseport import Processes, Workers

PRIVATE = re.compile(r"_(?!_)\w+")


def private_names(one: type) -> set[str]:
    """The names with an underscore that a class defines, sets or calls."""
    tree = ast.parse(inspect.getsource(one))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return {name for name in attributes | {*vars(one)} if PRIVATE.fullmatch(name)}


@pytest.mark.parametrize(
    "ours", [LimitedConnection, LoadSheddingProtocol, Forwarded, Workers, Processes]
)
def test_no_private_name_of_uvicorn_is_touched(ours: type) -> None:
    theirs = {
        name
        for base in ours.__mro__
        if base.__module__.startswith(f"{uvicorn.__name__}.")
        for name in private_names(base)
    }
    assert private_names(ours) & theirs == set()


def test_uvicorn_has_private_names_that_could_be_touched() -> None:
    assert "_unset_keepalive_if_required" in private_names(HttpToolsProtocol)
