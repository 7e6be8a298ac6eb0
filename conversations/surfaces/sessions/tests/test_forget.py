"""DELETE /api/v1/chat/{session_id}"""

from conversations.surfaces.sessions.tests.calls import history, say
from tests.support.client import Client
from tests.support.steps import done, hold, tokens
from tests.support.upstream import ScriptedUpstream


def test_forgetting_a_session_s_history(client: Client) -> None:
    say(client, "s", "a secret plan").finish()
    answer = client.request("DELETE", "/api/v1/chat/s")
    assert (answer.status, answer.json) == (200, {"message": "Conversation history reset successfully"})
    assert history(client, "s") == []
    assert [item["title"] for item in client.get("/api/conversations")["items"]] == ["New conversation"]
    say(client, "s", "anew").finish()
    assert history(client, "s") == [("user", "anew"), ("bot", "anew")]


def test_forgetting_stops_what_is_running(client: Client, upstream: ScriptedUpstream) -> None:
    gate = upstream.gate()
    upstream.script(tokens("so far"), hold(gate), tokens(" too late"), done())
    stream = say(client, "s")
    stream.read_until("so far")
    assert client.request("DELETE", "/api/v1/chat/s").status == 200
    assert stream.finish()["status"] == "stopped"
    gate.open()
    assert history(client, "s") == []
