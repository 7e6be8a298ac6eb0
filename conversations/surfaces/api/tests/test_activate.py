"""POST /api/conversations/{id}/messages/{mid}/activate"""

from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def test_an_earlier_answer_is_made_to_count_again(client: Client, conversation: str, upstream: ScriptedUpstream) -> None:
    first = client.ask(conversation, "hi").message_id
    second = client.regenerate(conversation)
    second.finish()
    assert [item["id"] for item in client.conversation(conversation)["messages"][1:]] == [second.message_id]
    path = f"/api/conversations/{conversation}/messages/{first}/activate"
    for _ in range(2):
        answer = client.request("POST", path)
        assert (answer.status, answer.json["id"], answer.json["is_active"]) == (200, first, True)
        assert [item["id"] for item in client.conversation(conversation)["messages"][1:]] == [first]


def test_an_answer_that_is_being_made_can_t_be_made_to_count(
    client: Client, conversation: str, upstream: ScriptedUpstream
) -> None:
    client.ask(conversation, "hi")
    gate = upstream.gate()
    upstream.script(tokens("a"), hold(gate), done())
    running = client.regenerate(conversation)
    answer = client.request("POST", f"/api/conversations/{conversation}/messages/{running.message_id}/activate")
    assert (answer.status, answer.json["code"]) == (409, "generation_in_progress")
    gate.open()
    running.finish()
