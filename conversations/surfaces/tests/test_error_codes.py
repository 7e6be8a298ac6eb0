"""The list of error codes is complete, and the documentation shows it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import chatapi.urls  # loads all views, and with them all errors
import gunicorn_worker.unreadable_requests  # noqa: F401  # those of the server
from chatapi.api.errors import _DRF_CODES
from chatapi.service_error import ServiceError
from conversations.surfaces.error_codes import ERROR_CODES, STREAM_CODES
from inference_proxy.exceptions import FAILURES

DOCS = Path(chatapi.__path__[0]).parent / "docs"
ROW = re.compile(r"^\| `(\w+)` \| (\d{3}) \| (.+) \|$", re.MULTILINE)


def kinds(kind: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    yield kind
    for more in kind.__subclasses__():
        yield from kinds(more)


@pytest.fixture(scope="module")
def described() -> Any:
    return yaml.load((DOCS / "openapi.yaml").read_text(), yaml.CSafeLoader)


def test_every_error_has_a_code_of_the_list() -> None:
    # Other test modules of the same process may have made some of their own.
    ours = {kind.code for kind in kinds() if not {"tests", "conftest"} & set(kind.__module__.split("."))}
    assert ours | set(_DRF_CODES.values()) == set(ERROR_CODES)


def test_streams_have_codes_of_the_list() -> None:
    assert set(FAILURES) | {ServiceError.code} == set(STREAM_CODES) <= set(ERROR_CODES)


def test_the_table_in_the_documentation_is_the_list() -> None:
    rows = ROW.findall((DOCS / "surfaces.md").read_text())
    assert {code: (int(status), meaning) for code, status, meaning in rows} == dict(ERROR_CODES)


def test_the_openapi_file_has_the_codes_as_an_enum(described: Any) -> None:
    schemas = described["components"]["schemas"]
    for name in ("Error", "OpenAIErrorDetail"):
        assert schemas[name]["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"}
    assert set(schemas["ErrorCode"]["enum"]) == set(ERROR_CODES)


def test_every_event_has_a_schema(described: Any) -> None:
    schemas = described["components"]["schemas"]
    names = {each["$ref"].rsplit("/")[-1] for each in schemas["StreamEvent"]["oneOf"]}
    assert names == {"TokenEvent", "ReasoningEvent", "ErrorEvent", "DoneEvent", "ToolCallEvent"}
    stream = described["paths"]["/api/conversations/{conversation_id}/messages"]["post"]["responses"]["200"]["content"]
    reference = {"$ref": "#/components/schemas/StreamEvent"}
    assert stream["application/x-ndjson"]["schema"] == reference
    assert stream["text/event-stream"]["schema"] == reference


def test_every_body_has_an_example(described: Any) -> None:
    without = [
        operation["operationId"]
        for path in described["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
        for media in operation["requestBody"]["content"].values()
        if "examples" not in media
    ]
    assert without == []


def test_every_group_is_described(described: Any) -> None:
    used = {tag for path in described["paths"].values() for operation in path.values() for tag in operation["tags"]}
    assert {tag["name"] for tag in described["tags"]} == used
    assert all(tag["description"] for tag in described["tags"])
