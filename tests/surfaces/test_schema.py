"""The schema holds: whatever is sent, the answer is one that the schema names, in the shape that it names.

Requests are generated from docs/openapi.yaml, ten per operation; SCHEMA_EXAMPLES=200 makes it that many. The long form
also sends values at the edges of what the schema allows, and beyond them: about 40 requests more per operation.
"""

import os
import uuid
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from devstack.folder import PROJECT
from tests.support.auth import make_token
from tests.support.client import Client
from tests.support.server import Server
from tests.surfaces.operations import OPERATIONS, Operation

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "10"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


class Owner:
    """An admin, so that nothing is closed to them, with a conversation to try things on."""

    def __init__(self, service: Server) -> None:
        self.base_url = f"http://127.0.0.1:{service.port}"
        self.token = make_token(admin=True)
        self._client = Client(service.port, self.token)

    def own_places(self, wanted: set[str]) -> dict[str, str]:
        """Make what a path wants, a conversation with a reply or a session, and return the ids of it."""
        if wanted & {"session_id", "chat_id"}:
            session = str(uuid.uuid4())
            self._client.open("POST", "/api/v1/chat/stream", {"session_id": session, "message": "hello"}).finish()
            return dict.fromkeys(wanted, session)
        conversation = self._client.create_conversation()
        if not wanted & {"message_id", "response_id"}:
            return {"conversation_id": conversation}
        reply = self._client.send(conversation, "hello")
        reply.finish()
        own = {"conversation_id": conversation, "message_id": reply.message_id, "response_id": reply.message_id}
        return {name: own[name] for name in wanted}

    def close(self) -> None:
        self._client.close()


@pytest.fixture
def owner(service: Server) -> Any:
    someone = Owner(service)
    yield someone
    someone.close()


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["short", "long"])
def schema(request: pytest.FixtureRequest) -> BaseSchema:
    config = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": request.param}}})
    described = yaml.safe_load((PROJECT / "docs" / "openapi.yaml").read_text())
    for path in described["paths"].values():
        for operation in path.values():
            for response in operation["responses"].values():
                _describe_events(response.get("content", {}))
    return schemathesis.openapi.from_dict(described, config=config)


def _describe_events(content: dict[str, Any]) -> None:
    """Describe events as schemathesis reads them. The OpenAPI file describes only their `data`, as generators of clients do."""
    stream = content.get("text/event-stream")
    if stream is not None:
        data = {"type": "string", "contentMediaType": "application/json", "contentSchema": stream["schema"]}
        # The last event of some surfaces.
        either = {"anyOf": [{"const": "[DONE]"}, data]}
        stream["schema"] = {"type": "object", "properties": {"data": either}, "required": ["data"]}


# The decorator `schema.parametrize()` would invent the requests while tests are collected, which every process of a run does.
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_answer_is_as_documented(operation: Operation, schema: BaseSchema, owner: Owner) -> None:
    chosen = schema.include(operation_id=operation.id)
    (found,) = get_all_tests(schema=chosen, test_func=check_answers, settings=None, given_kwargs={})
    _, check = found.ok()
    check(owner=owner)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def check_answers(case: schemathesis.Case, owner: Owner) -> None:
    # Invented ids name nothing. Every other time they are replaced by real ones.
    if case.path_parameters and sum(map(len, map(str, (case.body, case.query, case.headers)))) % 2:
        case.path_parameters.update(owner.own_places(set(case.path_parameters)))
    headers = {"Authorization": f"Bearer {owner.token}"}
    response = case.call(base_url=owner.base_url, headers=headers, timeout=30)
    # What this service does not have, such as titles by a model. The schema must name it.
    checks = [check for check in CHECKS if response.status_code != 501 or check is not not_a_server_error]
    case.validate_response(response, checks=checks)
