"""Read a chat of Open WebUI's export.

An item is the chat's record with the chat below `chat`, or the chat alone. `history.messages` is a tree by `parentId`, and
`history.currentId` ends the branch that is shown. Old exports have only the list `messages`. Thoughts and calls of tools are
in the text, as `<details type="…">` with escaped HTML; they become the reply's reasoning.
"""

import html
import re
from typing import Any

from conversations.models import Role, Status
from conversations.services.history.imports.foreign.chatgpt import Count
from conversations.services.history.imports.foreign.nodes import (
    Chat,
    Node,
    UnreadableChat,
    attachment,
    child,
    fenced,
    first_text,
    joined,
    objects,
    read_object,
    read_text,
    read_time,
    shown_name,
)

FOLDED = re.compile(r'<details\s[^<>]{0,100}?type="(?P<kind>reasoning|tool_calls|code_interpreter)"(?P<rest>[^<>]*)>')
SUMMARY = re.compile(r"\A\s*<summary>[^<]*</summary>")
ATTRIBUTE = re.compile(r'\b(name|arguments|result|output)="([^"]*)"')
END = "</details>"
ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT}


def read_chat(item: Any, count: Count) -> Chat:
    """Raises `UnreadableChat`."""
    record = read_object(item, "")
    chat = record["chat"] if isinstance(record.get("chat"), dict) else record
    history = child(chat, "history")
    messages = history.get("messages")
    if isinstance(messages, dict) and messages:
        nodes = {
            node_id: _read_message(value, f".chat.history.messages.{shown_name(node_id)}", count)
            for node_id, value in messages.items()
        }
    else:
        nodes = _read_list(chat.get("messages"), count)
    current = history.get("currentId")
    tags = child(record, "meta").get("tags") or chat.get("tags")
    return Chat(
        id=first_text(record.get("id"), chat.get("id")),
        title=first_text(record.get("title"), chat.get("title")),
        created_at=read_time(record.get("created_at")) or read_time(chat.get("timestamp")),
        updated_at=read_time(record.get("updated_at")),
        nodes=nodes,
        current=current if isinstance(current, str) else None,
        is_archived=record.get("archived") is True,
        is_favorited=record.get("pinned") is True,
        tags=[read_text(tag if isinstance(tag, str) else child({"tag": tag}, "tag").get("name")) for tag in tags]
        if isinstance(tags, list)
        else [],
    )


def _read_list(messages: Any, count: Count) -> dict[str, Node]:
    if not isinstance(messages, list):
        raise UnreadableChat("it has neither history.messages nor messages", ".chat")
    nodes: dict[str, Node] = {}
    before: str | None = None
    for number, value in enumerate(messages):
        path = f".chat.messages[{number}]"
        message = read_object(value, path)
        node_id = first_text(message.get("id")) or str(number)
        node = _read_message(message, path, count)
        node.parent = node.parent or before
        nodes[node_id] = node
        before = node_id
    return nodes


def _read_message(value: Any, path: str, count: Count) -> Node:
    message = read_object(value, path)
    parent = message.get("parentId")
    if parent is not None and not isinstance(parent, str):
        raise UnreadableChat("its parentId is not the id of a message", path)
    role = ROLES.get(str(message.get("role")))
    if role is None:
        if message.get("role") != "system":
            raise UnreadableChat("its role is not known", path)
        count("hidden and system messages")
        return Node(parent, None)
    text, reasoning = _read_content(message.get("content"), count)
    files = [
        attachment(first_text(file.get("name"), child(file, "file").get("filename")), first_text(file.get("type")) or "file")
        for file in objects(message.get("files"))
    ]
    if files:
        count("images and other files")
    error = message.get("error")
    return Node(
        parent,
        role,
        text=joined([text, "\n".join(files)]),
        reasoning=joined([reasoning, "" if reasoning else _thoughts_in_output(message.get("output"))]),
        said_at=read_time(message.get("timestamp")),
        model=first_text(message.get("model")) or None,
        status=Status.FAILED if error else Status.INTERRUPTED if message.get("done") is False else Status.COMPLETE,
    )


def _read_content(content: Any, count: Count) -> tuple[str, str]:
    if isinstance(content, list):
        texts = [read_text(part.get("text")) for part in objects(content)]
        if len(list(filter(None, texts))) < len(content):
            count("images and other files")
        content = joined(texts)
    said, thought, position = [], [], 0
    text = read_text(content)
    while folded := FOLDED.search(text, position):
        end = text.find(END, folded.end())
        if end < 0:
            break
        said.append(text[position : folded.start()])
        thought.append(_unfolded(folded["kind"], folded["rest"], text[folded.end() : end]))
        position = end + len(END)
    said.append(text[position:])
    return (joined(piece.strip("\n") for piece in said) if thought else text), joined(thought)


def _unfolded(kind: str, attributes: str, inside: str) -> str:
    inside = html.unescape(SUMMARY.sub("", inside)).strip()
    if kind == "reasoning":
        return "\n".join(
            line.removeprefix("> ").removeprefix(">") if line.startswith(">") else line for line in inside.split("\n")
        ).strip()
    named = {name: html.unescape(value) for name, value in ATTRIBUTE.findall(attributes)}
    call = " ".join(filter(None, [named.get("name", ""), named.get("arguments", "")]))
    return joined([fenced(call), fenced(inside), fenced(named.get("result", "") or named.get("output", ""))])


def _thoughts_in_output(output: Any) -> str:
    thoughts = (part for item in objects(output) if item.get("type") == "reasoning" for part in objects(item.get("content")))
    return joined(read_text(part.get("text")) for part in thoughts)
