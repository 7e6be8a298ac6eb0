"""Read a conversation of LibreChat's export.

Its messages are a list (`messages`), or nested below `children` (`messagesTree`, or `messages` with `recursive`). They follow
each other by `parentMessageId`. The export does not say which branch was shown, so the newest is.
"""

import re
from collections.abc import Iterator
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
)

NO_PARENT = "00000000-0000-0000-0000-000000000000"
# Thoughts of versions before content parts.
THINKING = re.compile(r"\A\s*:::thinking\n(.*?)\n:::\s*", re.DOTALL)
FINISH_REASONS = {"length": "length", "incomplete": "length", "max_tokens": "length"}


def read_chat(item: Any, count: Count) -> Chat:
    """Raises `UnreadableChat`."""
    found = read_object(item, "")
    messages = found.get("messagesTree", found.get("messages"))
    if not isinstance(messages, list):
        raise UnreadableChat("it has neither messages nor messagesTree")
    nodes: dict[str, Node] = {}
    for message_id, parent, message, path in _flattened(messages):
        nodes[message_id] = _read_message(message, parent, path, count)
    times = [node.said_at for node in nodes.values() if node.said_at]
    tags = found.get("tags")
    return Chat(
        id=first_text(found.get("conversationId")),
        title=first_text(found.get("title")),
        created_at=read_time(found.get("createdAt")) or min(times, default=None),
        updated_at=read_time(found.get("updatedAt")),
        nodes=nodes,
        is_archived=found.get("isArchived") is True,
        tags=list(map(read_text, tags)) if isinstance(tags, list) else [],
    )


def _flattened(messages: list[Any]) -> Iterator[tuple[str, str | None, dict[str, Any], str]]:
    """Yield (id, parent, message, path), parents first, also of thousands of levels."""
    waiting: list[tuple[list[Any], str | None, str]] = [(messages, None, ".messages")]
    number = 0
    while waiting:
        level, above, place = waiting.pop()
        before: str | None = None
        for index, value in enumerate(level):
            path = f"{place}[{index}]"
            message = read_object(value, path)
            number += 1
            message_id = first_text(message.get("messageId")) or str(number)
            parent = above or _parent_of(message, before, path)
            before = message_id
            yield message_id, parent, message, path
            if isinstance(message.get("children"), list):
                waiting.append(
                    (message["children"], message_id, f"…{path[-60:]}.children" if len(path) > 60 else f"{path}.children")
                )


def _parent_of(message: dict[str, Any], before: str | None, path: str) -> str | None:
    if "parentMessageId" not in message:
        return before
    parent = message["parentMessageId"]
    if parent is not None and not isinstance(parent, str):
        raise UnreadableChat("its parentMessageId is not the id of a message", path)
    return None if parent == NO_PARENT else parent or None


def _read_message(message: dict[str, Any], parent: str | None, path: str, count: Count) -> Node:
    is_user = message.get("isCreatedByUser")
    if not isinstance(is_user, bool):
        raise UnreadableChat("isCreatedByUser is neither true nor false", path)
    if isinstance(message.get("content"), list):
        text, reasoning = _read_parts(message["content"], count)
        text = text or read_text(message.get("text"))
    else:
        text, reasoning = _read_text(read_text(message.get("text")))
    files = [
        attachment(first_text(file.get("filename"), file.get("name")), first_text(file.get("type")) or "file")
        for name in ("files", "attachments")
        for file in objects(message.get(name))
    ]
    if files:
        count("images and other files")
    status = Status.INTERRUPTED if message.get("unfinished") is True else Status.COMPLETE
    return Node(
        parent,
        Role.USER if is_user else Role.ASSISTANT,
        text=joined([text, "\n".join(files)]),
        reasoning=reasoning,
        said_at=read_time(message.get("createdAt")),
        model=first_text(message.get("model")) or None,
        status=Status.FAILED if message.get("error") is True else status,
        finish_reason=FINISH_REASONS.get(str(message.get("finish_reason"))),
    )


def _read_text(text: str) -> tuple[str, str]:
    thinking = THINKING.match(text)
    return (text[thinking.end() :], thinking[1].strip()) if thinking else (text, "")


def _read_parts(parts: list[Any], count: Count) -> tuple[str, str]:
    """Return the text and the reasoning of a message made of parts."""
    said: list[str] = []
    thought: list[str] = []
    for part in objects(parts):
        kind = str(part.get("type"))
        value = part.get(kind)
        if kind in ("text", "error"):
            said.append(read_text(value) or read_text(child(part, kind).get("value")))
        elif kind == "think":
            thought.append(read_text(value) or read_text(child(part, kind).get("value")))
        elif kind == "tool_call":
            call = child(part, kind)
            named = " ".join(filter(None, [read_text(call.get("name")), read_text(call.get("args"))]))
            thought.append(joined([fenced(named), fenced(read_text(call.get("output")))]))
        elif kind in ("image_file", "image_url", "input_audio", "video_url", "file"):
            said.append(attachment(child(part, kind).get("filename"), kind.split("_")[0]))
            count("images and other files")
    return joined(said), joined(thought)
