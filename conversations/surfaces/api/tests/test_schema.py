"""GET /api/schema and /api/docs"""

import re
from typing import Any

import pytest
import yaml
from drf_spectacular.generators import SchemaGenerator

from chatapi.tests.clients import UserClient
from conversations.surfaces.api.views.openapi import render_schema

SCHEMA = "/api/schema"


@pytest.mark.parametrize(
    ("accept", "query", "form"),
    [
        ("", "", "yaml"),
        ("*/*", "", "yaml"),
        ("text/event-stream", "", "yaml"),
        ("application/vnd.oai.openapi", "", "yaml"),
        ("application/vnd.oai.openapi+json", "", "json"),
        ("application/json", "", "json"),
        ("", "?format=json", "json"),
        ("application/json", "?format=yaml", "yaml"),
        ("", "?format=nonsense", "yaml"),
    ],
)
def test_yaml_or_json(anonymous: UserClient, accept: str, query: str, form: str) -> None:
    response = anonymous.get(SCHEMA + query, headers={"Accept": accept})
    assert response.status_code == 200
    kind = {"yaml": "application/vnd.oai.openapi", "json": "application/vnd.oai.openapi+json"}[form]
    assert response["Content-Type"].split(";")[0] == kind
    described = response.json() if form == "json" else yaml.load(response.content, yaml.CSafeLoader)
    assert described["openapi"].startswith("3.1")
    assert "/api/conversations" in described["paths"]


def test_it_is_made_once(anonymous: UserClient, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    make = SchemaGenerator.get_schema

    def note(*arguments: Any, **options: Any) -> Any:
        made.append(options)
        return make(*arguments, **options)

    monkeypatch.setattr(SchemaGenerator, "get_schema", note)
    render_schema.cache_clear()
    bodies = {anonymous.get(f"{SCHEMA}?version={number}").content for number in range(3)}
    assert (len(made), len(bodies)) == (1, 1)


def test_who_has_it_is_told_so(anonymous: UserClient) -> None:
    etag = anonymous.get(SCHEMA)["ETag"]
    again = anonymous.get(SCHEMA, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert anonymous.get(f"{SCHEMA}?format=json", headers={"If-None-Match": etag}).status_code == 200


def test_the_page_reads_it(anonymous: UserClient) -> None:
    page = anonymous.get("/api/docs")
    assert page.status_code == 200
    scripts = re.findall(r'<script src="(/api/docs[^"]*)"', page.content.decode())
    assert [SCHEMA in anonymous.get(script).content.decode() for script in scripts] == [True]
