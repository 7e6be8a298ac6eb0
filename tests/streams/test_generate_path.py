"""Where replies are asked for: a deployment may give the generating endpoint itself as the inference service's address."""

import pytest

from tests.conftest import StartServer
from tests.support.client import Client
from tests.support.upstream import ScriptedUpstream


@pytest.mark.parametrize(
    ("base", "path", "asked"),
    [
        ("/run", "/v2/reply", "/run/v2/reply"),
        pytest.param("/run", "", "/run", marks=pytest.mark.exhaustive),
    ],
)
def test_replies_are_asked_for_at_the_configured_path(
    new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream, base: str, path: str, asked: str
) -> None:
    with new_server(INFERENCE_SERVICE_URL=upstream.url + base, INFERENCE_GENERATE_PATH=path) as elsewhere:
        visitor = client.at(elsewhere.port)
        assert visitor.ask(conversation, "hello there").text == "hello there"
        visitor.close()
    assert [call.path for call in upstream.calls] == [asked]


def test_the_path_may_be_the_root_and_models_stay_relative_to_the_base_url(
    new_server: StartServer, client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    with new_server(INFERENCE_GENERATE_PATH="/") as elsewhere:
        visitor = client.at(elsewhere.port)
        assert visitor.ask(conversation, "hello there").text == "hello there"
        assert visitor.get("/api/models")["current_model"] == "tiny"
        visitor.close()
    assert [call.path for call in upstream.generations()] == ["/"]
