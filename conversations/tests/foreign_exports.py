"""Exports of other chat applications for tests, in the forms that their documentation and public samples show."""

import json
import zipfile
from pathlib import Path
from typing import Any

BEGUN_AT = 1_700_000_000


def chatgpt_node(node_id: str, parent: str | None, role: str | None, text: Any = "", **fields: Any) -> dict[str, Any]:
    """Return a node of a mapping. Without a role, it is one without a message."""
    node = {"id": node_id, "parent": parent, "children": [], "message": None}
    if role is not None:
        content = text if isinstance(text, dict) else {"content_type": "text", "parts": [text]}
        node["message"] = {
            "id": node_id,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": fields.pop("at", None),
            "update_time": None,
            "content": content,
            "status": "finished_successfully",
            "end_turn": True,
            "weight": 1.0,
            "recipient": "all",
            "metadata": {},
            **fields,
        }
    return node


def chatgpt_chat(*nodes: dict[str, Any], chat_id: str = "chat-1", **fields: Any) -> dict[str, Any]:
    mapping = {node["id"]: node for node in nodes}
    for node in nodes:
        if node["parent"] in mapping:
            mapping[node["parent"]]["children"].append(node["id"])
    return {
        "title": "A talk",
        "create_time": BEGUN_AT + 0.25,
        "update_time": BEGUN_AT + 1000.5,
        "mapping": mapping,
        "moderation_results": [],
        "current_node": nodes[-1]["id"] if nodes else None,
        "conversation_id": chat_id,
        "id": chat_id,
        "is_archived": False,
        "default_model_slug": "gpt-x",
        **fields,
    }


def linear_chatgpt_chat(*texts: str, **fields: Any) -> dict[str, Any]:
    """Return a chat of questions and answers in turn, below a root without a message."""
    nodes = [chatgpt_node("root", None, None)]
    for number, text in enumerate(texts):
        role = ("user", "assistant")[number % 2]
        at = BEGUN_AT + 10 * (number + 1)
        nodes.append(chatgpt_node(f"n{number}", nodes[-1]["id"], role, text, at=at))
    return chatgpt_chat(*nodes, **fields)


def openwebui_message(message_id: str, parent: str | None, role: str, content: str, **fields: Any) -> dict[str, Any]:
    return {"id": message_id, "parentId": parent, "childrenIds": [], "role": role, "content": content, **fields}


def openwebui_chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "chat-1",
        "user_id": "somebody",
        "title": "A talk",
        "chat": {
            "title": "A talk",
            "models": ["llama3"],
            "history": {"messages": {one["id"]: one for one in messages}, "currentId": messages[-1]["id"]},
            "messages": [],
            "tags": [],
            "timestamp": BEGUN_AT * 1000,
        },
        "created_at": BEGUN_AT,
        "updated_at": BEGUN_AT + 1000,
        "archived": False,
        "pinned": False,
        "meta": {"tags": []},
        **fields,
    }


def librechat_message(message_id: str, parent: str | None, is_user: bool, text: str, **fields: Any) -> dict[str, Any]:
    return {
        "messageId": message_id,
        "conversationId": "chat-1",
        "parentMessageId": parent or "00000000-0000-0000-0000-000000000000",
        "isCreatedByUser": is_user,
        "sender": "User" if is_user else "A model",
        "text": text,
        "model": None if is_user else "gpt-y",
        "error": False,
        "unfinished": False,
        **fields,
    }


def librechat_chat(*messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "conversationId": "chat-1",
        "endpoint": "openAI",
        "title": "A talk",
        "exportAt": "12:00:00 GMT+0000 (Coordinated Universal Time)",
        "branches": True,
        "recursive": False,
        "messages": list(messages),
        **fields,
    }


def write_json(path: Path, value: Any) -> str:
    path.write_text(json.dumps(value), encoding="utf-8")
    return str(path)


def write_zip(path: Path, **members: Any) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in members.items():
            archive.writestr(name, value if isinstance(value, str) else json.dumps(value))
    return str(path)
