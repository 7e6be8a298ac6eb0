"""PATCH /conversations/{id}"""

import uuid

from conversations.surfaces.contract.tests.calls import CONVERSATION, create
from tests.support.client import Client


def test_title_and_model_are_changed_one_by_one(client: Client) -> None:
    conversation = create(client)
    assert client.request("PATCH", f"/conversations/{conversation}", {"title": "Other"}).json["title"] == "Other"
    changed = client.request("PATCH", f"/conversations/{conversation}", {"model_tag": "large"})
    assert set(changed.json) == CONVERSATION
    assert (changed.json["title"], changed.json["model_tag"]) == ("Other", "large")
    assert client.request("PATCH", f"/conversations/{conversation}", {"user_id": str(uuid.uuid4())}).status == 400
