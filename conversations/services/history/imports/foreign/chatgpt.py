"""Read a conversation of ChatGPT's export (`conversations.json`).

Its `mapping` is a tree of nodes. A reply is a chain of them: thoughts, calls of tools, their outputs, and text. Thoughts, calls
and outputs become the reply's reasoning, because its page shows them folded. `current_node` ends the branch that is shown.
Nodes of the role `system`, and hidden ones, are not shown there and are left out.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from conversations.models import Role, Status
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

# Marks of citations and entities, between characters for private use. They mean nothing without the export's own page.
MARKS = re.compile("\ue200[^\ue200\ue201]{0,2000}\ue201|[\ue200-\ue206]")
# Endings that are not `finished_successfully`, and how the upstream ended.
STATUSES = {"in_progress": Status.INTERRUPTED, "finished_partial_completion": Status.COMPLETE}
# What the user wrote about themselves, and what the model noted of them. ChatGPT sends both along and shows neither.
NOT_SHOWN = {"user_editable_context", "model_editable_context", "system_message"}
VOICE = {"audio_asset_pointer", "real_time_user_audio_video_asset_pointer"}
MOST_REFERENCES = 1_000

Count = Callable[[str], None]


def read_chat(item: Any, count: Count) -> Chat:
    """Raises `UnreadableChat`. `count` is told of each piece that can't come along, by its reason."""
    found = read_object(item, "")
    mapping = found.get("mapping")
    if not isinstance(mapping, dict):
        raise UnreadableChat("it has no mapping of messages")
    nodes = {node_id: _read_node(node, f".mapping.{shown_name(node_id)}", count) for node_id, node in mapping.items()}
    current = found.get("current_node")
    return Chat(
        id=first_text(found.get("conversation_id"), found.get("id")),
        title=first_text(found.get("title")),
        created_at=read_time(found.get("create_time")),
        updated_at=read_time(found.get("update_time")),
        nodes=nodes,
        current=current if isinstance(current, str) else None,
        is_archived=found.get("is_archived") is True,
        is_favorited=found.get("is_starred") is True,
    )


def _read_node(value: Any, path: str, count: Count) -> Node:
    node = read_object(value, path)
    parent = node.get("parent")
    if parent is not None and not isinstance(parent, str):
        raise UnreadableChat("its parent is not the id of a node", path)
    if node.get("message") is None:
        return Node(parent, None)
    message = read_object(node["message"], f"{path}.message")
    metadata, content = child(message, "metadata"), child(message, "content")
    author = child(message, "author").get("role")
    kind = content.get("content_type")
    if author == "system" or kind in NOT_SHOWN or metadata.get("is_visually_hidden_from_conversation") is True:
        if first_text(*_texts(content)):
            count("hidden and system messages")
        return Node(parent, None)
    if author not in ("user", "assistant", "tool"):
        raise UnreadableChat("its author has no known role", f"{path}.message.author")
    is_aside = author == "tool" or (author == "assistant" and message.get("recipient") not in (None, "all"))
    text, reasoning = _read_content(content, metadata, is_aside=is_aside, count=count)
    ending = child(metadata, "finish_details").get("type")
    status = STATUSES.get(str(message.get("status")), Status.COMPLETE)
    return Node(
        parent,
        Role.USER if author == "user" else Role.ASSISTANT,
        text=text,
        reasoning=reasoning,
        said_at=read_time(message.get("create_time")),
        model=first_text(metadata.get("model_slug"), metadata.get("default_model_slug")) or None,
        status=Status.STOPPED if ending == "interrupted" else status,
        finish_reason="length" if ending == "max_tokens" else None,
    )


def _read_content(content: dict[str, Any], metadata: dict[str, Any], *, is_aside: bool, count: Count) -> tuple[str, str]:
    """Return the text and the reasoning of a node."""
    kind = content.get("content_type")
    files = [attachment(file.get("name")) for file in objects(metadata.get("attachments"))]
    if kind == "thoughts":
        thoughts = (
            joined([read_text(one.get("summary")), read_text(one.get("content"))]) for one in objects(content.get("thoughts"))
        )
        return joined(files), joined(thoughts)
    if kind == "reasoning_recap":
        # "Thought for 12 seconds". The thoughts themselves are in other nodes.
        return joined(files), ""
    if kind in ("text", "multimodal_text", None):
        pieces, assets = _read_parts(content.get("parts"), has_names=bool(files), count=count)
    elif kind in ("code", "execution_output", "computer_output"):
        language = read_text(content.get("language")) if kind == "code" else ""
        pieces, assets = [fenced(read_text(content.get("text")), "" if language == "unknown" else language)], []
    else:
        pieces, assets = list(_texts(content)), []
        if not joined(pieces):
            count(f"content of the type {shown_name(str(kind))}")
    said = _without_marks(joined(pieces), metadata)
    named = joined(["\n".join([*assets, *files])])
    return (named, said) if is_aside else (joined([said, named]), "")


def _read_parts(parts: Any, *, has_names: bool, count: Count) -> tuple[list[str], list[str]]:
    """Return the texts among the parts, and lines that name the others."""
    texts: list[str] = []
    assets: list[str] = []
    heard = False
    for part in parts if isinstance(parts, list) else []:
        kind = part.get("content_type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(read_text(part))
        elif kind == "image_asset_pointer":
            # Images that a user sent are among the attachments, with their names.
            prompt = child(child(part, "metadata"), "dalle").get("prompt")
            if not has_names:
                assets.append(attachment(first_text(prompt), "image"))
                count("images and other files")
        elif kind in VOICE:
            heard = True
        elif isinstance(part, dict) and (text := first_text(part.get("text"))):
            texts.append(text)
        elif part is not None:
            count(f"parts of the type {shown_name(str(kind))}")
    if heard and not joined(texts):
        assets.append(attachment("", "audio"))
        count("images and other files")
    if has_names:
        count("images and other files")
    return texts, assets


def _texts(content: dict[str, Any]) -> Iterator[str]:
    """Yield the texts of content of any type, as its known names have them."""
    parts = content.get("parts")
    yield from (read_text(part) for part in parts if isinstance(part, str)) if isinstance(parts, list) else ()
    for name in ("title", "text", "result", "summary", "content", "url"):
        yield read_text(content.get(name))


def _without_marks(text: str, metadata: dict[str, Any]) -> str:
    """Replace the marks of citations by their links, where the export has them, and remove the rest."""
    if "\ue200" not in text:
        return text
    for reference in list(objects(metadata.get("content_references")))[:MOST_REFERENCES]:
        marked, shown = reference.get("matched_text"), read_text(reference.get("alt"))
        if isinstance(marked, str) and marked.startswith("\ue200"):
            text = text.replace(marked, shown)
    return MARKS.sub("", text)
