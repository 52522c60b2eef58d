"""The exported API description."""

import json
import re
from pathlib import Path

from openapi_spec_validator import validate

from service.app import create_app
from service.kit.errors import CATALOGUE
from service.kit.settings import Settings
from sync_protocol.describe import PROTOCOL_MD, written
from tests.world import World

EXPORTED = Path(__file__).parents[2] / "openapi" / "openapi.json"
DOCUMENT = create_app(Settings(open_docs=True, open_metrics=True)).openapi()
ROUTES = [
    (path, method, route)
    for path, methods in DOCUMENT["paths"].items()
    for method, route in methods.items()
]


def test_the_exported_document_is_that_of_the_code() -> None:
    assert json.loads(EXPORTED.read_text(encoding="utf-8")) == json.loads(json.dumps(DOCUMENT)), (
        "run make openapi"
    )


def test_the_document_is_valid_openapi() -> None:
    validate(json.loads(json.dumps(DOCUMENT)))


def test_every_route_has_a_summary_a_description_and_its_problem_types() -> None:
    for path, method, route in ROUTES:
        assert route.get("summary"), (path, method)
        assert route.get("description"), (path, method)
        if path != "/healthz":
            problems = [
                answer for status, answer in route["responses"].items() if int(status) >= 400
            ]
            assert problems, (path, method)
            assert all("application/problem+json" in answer["content"] for answer in problems), (
                path,
                method,
            )


def test_every_problem_has_a_slug_of_its_own() -> None:
    assert len({kind.slug for kind in CATALOGUE}) == len(CATALOGUE)


def test_the_table_in_protocol_md_is_that_of_the_declarations() -> None:
    text = PROTOCOL_MD.read_text(encoding="utf-8")
    assert text == written(text), "run make openapi"


async def test_the_docs_need_nothing_from_outside(world: World) -> None:
    for page in ("/docs", "/redoc"):
        text = (await world.client.get(page)).text
        assert "://" not in text
        links = re.findall(r'(?:src|href)="([^"]+)"', text)
        assert links
        for link in links:
            assert (await world.client.get(link)).status_code == 200


def test_every_id_that_a_client_makes_has_the_form_of_one() -> None:
    bodies = {
        media["schema"]["$ref"].rpartition("/")[2]
        for path in DOCUMENT["paths"].values()
        for route in path.values()
        for media in route.get("requestBody", {}).get("content", {}).values()
        if "$ref" in media["schema"]
    }
    ids = {
        (body, name): json.dumps(schema)
        for body in bodies
        for name, schema in DOCUMENT["components"]["schemas"][body].get("properties", {}).items()
        if name == "id" or name.endswith("_id")
    }
    assert ("NewCheck", "id") in ids
    ids.pop(("Grant", "device_id"))  # refused by an error of OAuth's
    ids = {at: schema for at, schema in ids.items() if at[1] != "client_id"}  # an app's name
    assert [at for at, schema in ids.items() if "{8}" not in schema] == []
