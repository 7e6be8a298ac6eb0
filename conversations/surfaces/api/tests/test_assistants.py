"""GET /api/assistants"""

from conversations.surfaces.conftest import MakeAssistant
from tests.support.client import Client


def test_the_assistants_in_use_are_listed(client: Client, make_assistant: MakeAssistant) -> None:
    here, retired = make_assistant(public=True, model_tag="large"), make_assistant(active=False)
    items = client.get("/api/assistants")["items"]
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)
    found = {item["id"]: item for item in items}
    assert retired not in found
    assert set(found[here]) == {"id", "name", "description", "model_tag", "requires_authentication"}
    assert (found[here]["requires_authentication"], found[here]["model_tag"]) == (False, "large")
